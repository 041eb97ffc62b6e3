package state

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"slices"
)

// manifestVersion is the first byte of an encoded manifest, idVersion that of an
// encoded ID. Raised together with docs/format/state.md.
const (
	manifestVersion = 1
	idVersion       = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendManifest appends the encoding of m, which stores share: see
// docs/format/state.md. Equal manifests give equal bytes.
func AppendManifest(dst []byte, m Manifest) []byte {
	start := len(dst)
	dst = append(dst, manifestVersion)
	dst = binary.AppendUvarint(dst, m.Step)
	dst = append(dst, m.Hash[:]...)
	dst = binary.AppendVarint(dst, m.Journal)
	dst = binary.AppendUvarint(dst, uint64(len(m.Positions)))
	for _, p := range m.Positions {
		dst = appendText(dst, p.Topic)
		dst = binary.AppendVarint(dst, int64(p.Partition))
		dst = binary.AppendVarint(dst, p.Next)
	}
	dst = binary.AppendUvarint(dst, uint64(len(m.Meta)))
	for _, k := range slices.Sorted(maps.Keys(m.Meta)) {
		dst = appendText(dst, k)
		dst = appendText(dst, m.Meta[k])
	}
	return appendSum(dst, start)
}

// DecodeManifest reads the bytes of [AppendManifest]. The error wraps
// [ErrDamaged], or [ErrLayout] for a version this program does not know.
func DecodeManifest(src []byte) (Manifest, error) {
	var m Manifest
	d, err := openRecord(src, manifestVersion, "a manifest")
	if err != nil {
		return m, err
	}
	m.Step = d.uvarint()
	copy(m.Hash[:], d.take(uint64(len(m.Hash))))
	m.Journal = d.varint()
	// A position takes at least 3 bytes, an entry of Meta 2.
	if n := d.uvarint(); n > uint64(len(d.src))/3 {
		d.fail(errShort)
	} else if n > 0 {
		m.Positions = make([]Position, n)
	}
	for i := range m.Positions {
		p := &m.Positions[i]
		p.Topic = string(d.take(d.uvarint()))
		part := d.varint()
		if part < math.MinInt32 || part > math.MaxInt32 {
			d.fail(fmt.Errorf("partition %d", part))
		}
		p.Partition = int32(part)
		p.Next = d.varint()
	}
	n := d.uvarint()
	if n > uint64(len(d.src))/2 {
		d.fail(errShort)
		n = 0
	}
	if n > 0 {
		m.Meta = make(map[string]string, n)
	}
	for range n {
		k := string(d.take(d.uvarint()))
		m.Meta[k] = string(d.take(d.uvarint()))
	}
	if err := d.close("a manifest"); err != nil {
		return Manifest{}, err
	}
	return m, nil
}

// Clone returns a copy that shares no memory with m.
func (m Manifest) Clone() Manifest {
	m.Positions = slices.Clone(m.Positions)
	m.Meta = maps.Clone(m.Meta)
	return m
}

// CheckEntry refuses what cannot be the entry of a task: a store key of no known
// kind, or a manifest that does not decode. Stores call it for what is imported.
func CheckEntry(key, value []byte) error {
	switch {
	case len(key) == 0, key[0] > kindEntry, key[0] != kindManifest && len(key) < 5, value == nil:
		return fmt.Errorf("%w: an entry under the key %x", ErrDamaged, key)
	case key[0] != kindManifest:
		return nil
	case len(key) != 1:
		return fmt.Errorf("%w: an entry under the key %x", ErrDamaged, key)
	}
	_, err := DecodeManifest(value)
	return err
}

// AppendID appends the encoding of an ID, which stores share.
func AppendID(dst []byte, id ID) []byte {
	start := len(dst)
	dst = append(dst, idVersion)
	dst = appendText(dst, id.Node)
	dst = appendText(dst, id.Name)
	dst = binary.AppendVarint(dst, int64(id.Version))
	dst = appendText(dst, id.Pinned)
	return appendSum(dst, start)
}

// DecodeID reads the bytes of [AppendID], with the errors of [DecodeManifest].
func DecodeID(src []byte) (ID, error) {
	d, err := openRecord(src, idVersion, "a state identity")
	if err != nil {
		return ID{}, err
	}
	id := ID{Node: string(d.take(d.uvarint())), Name: string(d.take(d.uvarint()))}
	id.Version = int(d.varint())
	id.Pinned = string(d.take(d.uvarint()))
	if err := d.close("a state identity"); err != nil {
		return ID{}, err
	}
	return id, nil
}

// appendSum appends the CRC32C of dst[start:].
func appendSum(dst []byte, start int) []byte {
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// openRecord checks the version byte and the CRC32C at the end.
func openRecord(src []byte, version byte, what string) (*decoder, error) {
	if len(src) < 5 {
		return nil, fmt.Errorf("%w: %d bytes are too few for %s", ErrDamaged, len(src), what)
	}
	if src[0] != version {
		return nil, fmt.Errorf("%w: %s of version %d; this program reads version %d", ErrLayout, what, src[0], version)
	}
	end := len(src) - 4
	if crc32.Checksum(src[:end], castagnoli) != binary.LittleEndian.Uint32(src[end:]) {
		return nil, fmt.Errorf("%w: the checksum of %s is wrong", ErrDamaged, what)
	}
	return &decoder{src: src[1:end]}, nil
}

func (d *decoder) close(what string) error {
	if d.err == nil && len(d.src) != 0 {
		d.err = fmt.Errorf("%d bytes too many", len(d.src))
	}
	if d.err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, what, d.err)
	}
	return nil
}

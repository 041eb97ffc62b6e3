package spec

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strings"
)

// File is a file whose content is part of a configuration, such as a table. Decode
// fills in what is written; whoever loads the configuration opens the file and
// calls [File.Read].
type File struct {
	Path string // from the working folder on
	Pos  Pos
	// Digest is the SHA-256 of the file's bytes in hex, once it was read. It stands
	// for the file in [Canonical] and [Pinned]: what it holds counts, not where it lies.
	Digest string
}

// File declares the path of a file whose content is part of the configuration.
func (f *Fields) File(p *File, name, doc string) *Field {
	return f.add(name, "", doc, &scalar[File]{p, File{}, &fileKind})
}

var fileKind = scalarKind[File]{
	is:    "a file",
	parse: func(n *Node) (File, bool) { return File{Path: n.Value, Pos: n.Pos}, n.Value != "" },
	show: func(v File) string {
		if v.Digest != "" {
			return "sha256-" + v.Digest
		}
		return showDefault(v.Path)
	},
	schema: nameSchema,
}

// Read passes what the file holds to take, unpacked where Path ends in .gz, and
// notes the digest. raw gives the file's bytes. All of them are read, even if take
// wants less.
func (f *File) Read(raw io.Reader, take func(content io.Reader) Errors) Errors {
	sum := sha256.New()
	raw = io.TeeReader(raw, sum)
	content := raw
	if strings.HasSuffix(f.Path, ".gz") {
		unpacked, err := gzip.NewReader(raw)
		if err != nil {
			return Errors{{Pos: Pos{File: f.Path}, Msg: "cannot be unpacked: " + err.Error(), Want: "expected a file in gzip, as its name says"}}
		}
		content = unpacked
	}
	if errs := take(content); len(errs) > 0 {
		return errs
	}
	if _, err := io.Copy(io.Discard, raw); err != nil {
		return Errors{{Pos: Pos{File: f.Path}, Msg: "cannot be read: " + err.Error()}}
	}
	f.Digest = hex.EncodeToString(sum.Sum(nil))
	return nil
}

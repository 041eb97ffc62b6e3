package faultproxy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxFrame bounds the size of one frame, in bytes: more is not Kafka.
const maxFrame = 256 << 20

// readFrame reads one frame, the four bytes of its size included.
func readFrame(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 4 || n > maxFrame {
		return nil, fmt.Errorf("faultproxy: a frame of %d bytes: not Kafka's protocol, or TLS", n)
	}
	b := make([]byte, 4+n)
	copy(b, head[:])
	_, err := io.ReadFull(r, b[4:])
	return b, err
}

// Request is one request of a client, as rules see it.
type Request struct {
	Broker      int      // index of the proxy that it came through
	Key         kmsg.Key // what it asks for
	Version     int16
	Correlation int32
	ClientID    string // "" if there is none

	frame  []byte // whole, with its size
	bodyAt int    // where the body starts in frame; 0 if the header is not understood
	body   kmsg.Request
	parsed bool
	seq    uint64 // in the order that the group saw requests

	// What is to be done with it, set by the rules.
	rule   *Injection
	twin   bool          // the duplicate; its answer goes nowhere
	answer chan struct{} // closed when the broker has answered; nil if nobody waits for it
}

var errHeader = errors.New("faultproxy: a request's header is too short")

// Offsets in a frame.
const (
	atKey         = 4
	atVersion     = 6
	atCorrelation = 8
	atClientID    = 12
)

func parseRequest(broker int, frame []byte) (*Request, error) {
	if len(frame) < atClientID {
		return nil, errHeader
	}
	r := &Request{
		Broker: broker, frame: frame,
		Key:         kmsg.Key(int16(binary.BigEndian.Uint16(frame[atKey:]))),
		Version:     int16(binary.BigEndian.Uint16(frame[atVersion:])),
		Correlation: correlation(frame[atCorrelation:]),
	}
	b := kbin.Reader{Src: frame[atClientID:]}
	if id := b.NullableString(); id != nil {
		r.ClientID = *id
	}
	// The second version of the header, which flexible requests have, ends with tagged fields.
	if body := kmsg.RequestForKey(r.Key.Int16()); body != nil {
		if body.SetVersion(r.Version); body.IsFlexible() {
			for range b.Uvarint() {
				b.Uvarint()
				b.Span(int(b.Uvarint()))
			}
		}
	}
	if !b.Ok() {
		return nil, errHeader
	}
	r.bodyAt = len(frame) - len(b.Src)
	return r, nil
}

func correlation(b []byte) int32 { return int32(binary.BigEndian.Uint32(b)) }

// Body returns the request's body, decoded, such as a *kmsg.EndTxnRequest; nil if it is of a kind or a version that the
// library does not know. Nothing in it may be changed.
func (r *Request) Body() kmsg.Request {
	if r.parsed {
		return r.body
	}
	r.parsed = true
	body := kmsg.RequestForKey(r.Key.Int16())
	if body == nil || r.Version > body.MaxVersion() {
		return nil
	}
	body.SetVersion(r.Version)
	if body.ReadFrom(r.frame[r.bodyAt:]) == nil {
		r.body = body
	}
	return r.body
}

// TxnID returns the transactional id in the request's body, "" if it has none.
func (r *Request) TxnID() string {
	var id *string
	switch b := r.bodyOf(kmsg.Produce, kmsg.InitProducerID, kmsg.AddPartitionsToTxn, kmsg.AddOffsetsToTxn, kmsg.EndTxn, kmsg.TxnOffsetCommit).(type) {
	case *kmsg.ProduceRequest:
		id = b.TransactionID
	case *kmsg.InitProducerIDRequest:
		id = b.TransactionalID
	case *kmsg.AddPartitionsToTxnRequest:
		if len(b.Transactions) == 1 { // brokers ask about several
			return b.Transactions[0].TransactionalID
		}
		return b.TransactionalID
	case *kmsg.AddOffsetsToTxnRequest:
		return b.TransactionalID
	case *kmsg.EndTxnRequest:
		return b.TransactionalID
	case *kmsg.TxnOffsetCommitRequest:
		return b.TransactionalID
	}
	if id == nil {
		return ""
	}
	return *id
}

// Group returns the consumer group in the request's body, "" if it has none.
func (r *Request) Group() string {
	switch b := r.bodyOf(kmsg.JoinGroup, kmsg.SyncGroup, kmsg.Heartbeat, kmsg.LeaveGroup, kmsg.OffsetCommit, kmsg.TxnOffsetCommit, kmsg.AddOffsetsToTxn).(type) {
	case *kmsg.JoinGroupRequest:
		return b.Group
	case *kmsg.SyncGroupRequest:
		return b.Group
	case *kmsg.HeartbeatRequest:
		return b.Group
	case *kmsg.LeaveGroupRequest:
		return b.Group
	case *kmsg.OffsetCommitRequest:
		return b.Group
	case *kmsg.TxnOffsetCommitRequest:
		return b.Group
	case *kmsg.AddOffsetsToTxnRequest:
		return b.Group
	}
	return ""
}

// bodyOf returns the body if the request is one of the kinds: others are not worth decoding.
func (r *Request) bodyOf(keys ...kmsg.Key) kmsg.Request {
	for _, k := range keys {
		if r.Key == k {
			return r.Body()
		}
	}
	return nil
}

// copyAs returns the request once more under another correlation id.
func (r *Request) copyAs(id int32) *Request {
	frame := append([]byte(nil), r.frame...)
	binary.BigEndian.PutUint32(frame[atCorrelation:], uint32(id))
	return &Request{Broker: r.Broker, Key: r.Key, Version: r.Version, Correlation: id, ClientID: r.ClientID,
		frame: frame, bodyAt: r.bodyAt, rule: r.rule, twin: true}
}

// noAnswer reports whether brokers stay silent on the request: a Produce with acks=0.
func (r *Request) noAnswer() bool {
	if r.Key != kmsg.Produce {
		return false
	}
	b := kbin.Reader{Src: r.frame[r.bodyAt:]}
	if r.Version >= 9 { // flexible: compact strings
		b.CompactNullableString()
	} else if r.Version >= 3 {
		b.NullableString()
	}
	return b.Int16() == 0 && b.Ok()
}

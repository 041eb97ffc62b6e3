package run

import (
	"errors"
	"slices"
	"strconv"

	"github.com/gradstream/gradstream/connectors"
)

// errorSink gathers the records of a step that could not be used. They go to
// their source's errors topic as they came, with Kafka Connect's error headers
// beside their own.
type errorSink struct {
	c        *core
	refs     []rejected
	byReason map[string]int64 // what the step has rejected
}

type rejected struct {
	in        *input
	partition int32
	record    connectors.Record
	seq       int32
	rank      int
	node      string
	why       error
	skip      *skip // set if it was quarantined
}

func newErrorSink(c *core) *errorSink {
	return &errorSink{c: c, byReason: map[string]int64{}}
}

// add takes a record that did not decode (rank 0, no node) or of which an
// operator rejected a row.
func (e *errorSink) add(in *input, partition int32, r *connectors.Record, seq int32, rank int, node string, why error) {
	e.refs = append(e.refs, rejected{in, partition, *r, seq, rank, node, why, nil})
	reason := "decode"
	if node != "" {
		reason = node
	}
	e.byReason[reason]++
}

// flush moves the rejected records to the step's outputs in the order of the
// input, each once: a record of many rows may have many that were rejected, and
// one row may be rejected on several ways. The first says why.
func (e *errorSink) flush(out *outputs) {
	slices.SortStableFunc(e.refs, func(a, b rejected) int {
		if a.seq != b.seq {
			return int(a.seq) - int(b.seq)
		}
		return a.rank - b.rank
	})
	for i := 0; i < len(e.refs); {
		r := &e.refs[i]
		first := i
		for i++; i < len(e.refs) && r.sameRecord(&e.refs[i]); i++ {
		}
		headers := append(slices.Clone(r.record.Headers), errorHeaders(e.c.p.Name, r)...)
		if i-first > 1 {
			headers = append(headers, connectors.Header{Key: "gradstream-rejections", Value: strconv.AppendInt(nil, int64(i-first), 10)})
		}
		topic := r.in.src.Errors
		out.Add(topic, r.partition%e.c.partitions(topic), r.record.Time, r.record.Key, r.record.Value, headers)
	}
	clear(e.refs)
	e.refs = e.refs[:0]
}

func (r *rejected) sameRecord(o *rejected) bool {
	return r.in == o.in && r.partition == o.partition && r.record.Offset == o.record.Offset
}

func errorHeaders(pipeline string, r *rejected) []connectors.Header {
	if r.skip != nil {
		return quarantineHeaders(pipeline, r)
	}
	stage, class := "VALUE_CONVERTER", "gradstream.DecodeError"
	if r.node != "" {
		stage, class = "TRANSFORMATION", "gradstream.RowError"
	}
	h := []connectors.Header{
		{Key: "__connect.errors.topic", Value: []byte(r.in.src.Topic)},
		{Key: "__connect.errors.partition", Value: strconv.AppendInt(nil, int64(r.partition), 10)},
		{Key: "__connect.errors.offset", Value: strconv.AppendInt(nil, r.record.Offset, 10)},
		{Key: "__connect.errors.stage", Value: []byte(stage)},
		{Key: "__connect.errors.exception.class.name", Value: []byte(class)},
		{Key: "__connect.errors.exception.message", Value: []byte(r.why.Error())},
		{Key: "gradstream-pipeline", Value: []byte(pipeline)},
	}
	if r.node != "" {
		h = append(h, connectors.Header{Key: "gradstream-operator", Value: []byte(r.node)})
	}
	var row *connectors.RowError
	if errors.As(r.why, &row) && row.Column != "" {
		h = append(h, connectors.Header{Key: "gradstream-column", Value: []byte(row.Column)})
	}
	return h
}

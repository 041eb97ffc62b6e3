package run

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/connectors/codec"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// Records in Avro go through a pipeline; one that is cut goes to the errors topic.
func TestAvroSource(t *testing.T) {
	file := filepath.Join(t.TempDir(), "clicks.avsc")
	const schema = `{"type": "record", "name": "click", "fields": [{"name": "id", "type": "long"}, {"name": "user", "type": ["null", "string"]}]}`
	if err := os.WriteFile(file, []byte(schema), 0o600); err != nil {
		t.Fatal(err)
	}
	text := "pipeline: clicks\nkafka: {brokers: embedded}\nsources:\n  clicks:\n    topic: clicks\n    format: {avro: {schema: '" + file + "', framing: confluent}}\n    schema: {user: string?, id: int64}\n" +
		"sinks:\n  copy: {from: clicks, topic: copy}\n"
	p := parse(t, text)
	formats := testFormats
	formats.NewAvro = func(a *pipeline.Avro, s *batch.Schema) (connectors.Decoder, error) {
		return codec.NewAvro(s, codec.AvroOptions{Schema: a.Schema, Framed: a.Framed, ID: a.ID}, codec.Options{})
	}
	c, err := newCore(p, 0, formats, coreOptions{SinkPartitions: func(string) int32 { return 1 }})
	if err != nil {
		t.Fatal(err)
	}
	const frame = "\x00\x00\x00\x00\x01"
	var recs []connectors.Record
	for i, value := range []string{frame + "\x02\x02\x06ann", frame + "\x04\x02\x06an", frame + "\x06\x00"} {
		recs = append(recs, connectors.Record{Offset: int64(i), Value: []byte(value)})
	}
	var out outputs
	c.begin(1, &out)
	if _, _, err := c.feed(0, 0, recs, unbounded); err != nil {
		t.Fatal(err)
	}
	if err := c.end(1); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range out.List() {
		got = append(got, o.Topic+" "+string(o.Value))
	}
	want := []string{`copy {"user":"ann","id":1}`, `copy {"user":null,"id":3}`, "clicks.errors " + string(recs[1].Value)}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("published: %q, want %q", got, want)
	}
	if other := parse(t, strings.Replace(text, "confluent", "none", 1)); other.Hash() == p.Hash() {
		t.Error("the framing is no part of the hash")
	}
}

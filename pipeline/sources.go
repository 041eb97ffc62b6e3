package pipeline

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// sources turns the sources of the file into those of the pipeline.
func (l *loader) sources() {
	for _, s := range l.srcs {
		s.schema = l.schema(s)
		s.end.sources = []string{s.name}
		out := &Source{
			Name: s.name, Pos: s.pos, Topic: s.c.topic, Start: s.c.start, Format: s.c.format.Name,
			Time: s.c.time.Name, Key: s.c.key.Name, Schema: s.schema, Errors: s.c.errors, Partitions: s.c.partitions,
		}
		if out.Errors == "" {
			out.Errors = l.p.Name + ".errors"
		}
		if t := s.c.time; t.Name != "" {
			switch i := l.column(s.schema, nil, t, ""); {
			case i < 0:
			case s.schema.Fields[i].Nullable:
				l.errorf(t.Pos, "expected a column that always has a value", "time column %q is %s", t.Name, s.schema.Fields[i].TypeString())
			case !slices.Contains([]batch.Type{0, batch.Timestamp, batch.Int64}, s.schema.Fields[i].Type):
				l.errorf(t.Pos, "expected timestamp, or int64 for milliseconds since 1970", "time column %q is %s", t.Name, s.schema.Fields[i].TypeString())
			}
		}
		l.keyColumn(s.schema, nil, s.c.key, "")
		if c, ok := s.c.format.Config.(*avroConfig); ok {
			out.Avro = l.avro(c, s)
		}
		l.p.Sources = append(l.p.Sources, out)
	}
	slices.SortStableFunc(l.p.Sources, func(a, b *Source) int { return cmp.Compare(a.Name, b.Name) })
}

// mostAvroSchema bounds the file of an Avro schema.
const mostAvroSchema = 1 << 20

// avro reads the schema of Avro records and checks that it has the columns.
func (l *loader) avro(c *avroConfig, s *source) *Avro {
	if c.schema == "" {
		return nil // complained of
	}
	path := c.schema
	f, err := os.Open(path)
	if err != nil {
		l.errorf(c.at, "expected a file with an Avro schema", "%v", fileError(path, err))
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, mostAvroSchema+1))
	switch {
	case err != nil:
		l.errorf(c.at, "expected a file with an Avro schema", "%v", fileError(path, err))
		return nil
	case len(data) > mostAvroSchema:
		l.errorf(c.at, fmt.Sprintf("expected at most %d bytes", mostAvroSchema), "the Avro schema %s is larger", path)
		return nil
	}
	if c.id > 0 && c.framing != "confluent" {
		l.errorf(c.at, "expected framing: confluent with it", "id does not go with framing: %s", c.framing)
	}
	a := &Avro{Schema: string(data), Framed: c.framing == "confluent", ID: uint32(c.id), Time: s.c.time.Name}
	if l.checkAvro != nil && s.schema != nil && !slices.ContainsFunc(s.schema.Fields, func(f batch.Field) bool { return f.Type == 0 }) {
		if err := l.checkAvro(a, s.schema); err != nil {
			l.errorf(c.at, "", "%v", err)
		}
	}
	return a
}

// schema reads the columns of a source. A column whose type is wrong has type 0:
// its name can be checked against.
func (l *loader) schema(s *source) *batch.Schema {
	schema := &batch.Schema{}
	node := s.node.Get("schema")
	if node == nil || node.Kind != spec.Map {
		return nil // complained of
	}
	if len(node.Keys) == 0 {
		l.errorf(node.Pos, "expected at least one column, as in {id: string}", "the schema has no columns")
		return nil
	}
	for _, k := range node.Keys {
		f := batch.Field{Name: k.Name}
		if k.Value.Kind == spec.Scalar && k.Value.Value != "" {
			var ok bool
			if f.Type, f.Nullable, ok = batch.ParseType(k.Value.Value); !ok {
				f.Type = 0
				l.errorf(k.Value.Pos, typeWant(k.Value.Value), "no type %q", k.Value.Value)
			}
		}
		if k.Name != "" && slices.Contains(strings.Split(k.Name, "."), "") {
			l.errorf(k.Pos, "expected names with single dots between them, as in a.b", "%q is no name of a column", k.Name)
		}
		schema.Fields = append(schema.Fields, f)
	}
	if s.c.format.Name == "json" && !l.wrong(s.node, "format") {
		columns := map[string]bool{}
		for _, k := range node.Keys {
			columns[k.Name] = true
		}
		for _, k := range node.Keys {
			for i, r := range k.Name {
				if r == '.' && columns[k.Name[:i]] {
					l.errorf(k.Pos, "expected columns that do not lie inside each other",
						"column %q is a field of column %q", k.Name, k.Name[:i])
				}
			}
		}
	}
	return schema
}

// typeWant says what type was expected in place of text.
func typeWant(text string) string {
	name, optional := strings.CutSuffix(text, "?")
	mark := ""
	if optional {
		mark = "?"
	}
	// Names that other systems have for these types.
	for i, others := range [...][]string{
		{"boolean", "bit"},
		{"int", "integer", "long", "bigint", "int32", "int16", "int8", "uint64", "uint32", "short", "i64"},
		{"float", "double", "number", "float32", "real", "decimal", "f64"},
		{"str", "text", "varchar", "utf8", "char", "keyword", "uuid"},
		{"time", "date", "datetime", "timestamptz"},
		{"vector", "features"},
	} {
		if slices.Contains(others, strings.ToLower(name)) {
			return fmt.Sprintf("did you mean %q?", batch.Types()[i]+mark)
		}
	}
	if near := spec.Nearest(name, batch.Types()); near != "" {
		return fmt.Sprintf("did you mean %q?", near+mark)
	}
	return "expected one of " + strings.Join(batch.Types(), ", ") + ", with a ? behind it if it may be missing"
}

// column returns the position of a column, -1 after complaining that there is
// none where, such as ` in "ctr"`. Nothing is complained of that an operator in
// doubt may have brought about.
func (l *loader) column(s *batch.Schema, doubt []string, c spec.Column, where string) int {
	if s == nil {
		return -1
	}
	i := s.Lookup(c.Name)
	if i < 0 && !doubtful(c.Name, doubt) {
		l.errorf(c.Pos, suggestColumn(c.Name, s), "no column %q%s", c.Name, where)
	}
	return i
}

// suggestColumn is spec.Suggest for columns: their list may be long.
func suggestColumn(name string, s *batch.Schema) string {
	if names := s.Names(); len(names) > 12 && spec.Nearest(name, names) == "" {
		return "expected one of " + strings.Join(names[:12], ", ") + fmt.Sprintf(" and %d more", len(names)-12)
	}
	return spec.Suggest(name, s.Names())
}

// keyColumn returns the position of a column that records are to be keyed by, -1
// if there is none.
func (l *loader) keyColumn(s *batch.Schema, doubt []string, c spec.Column, where string) int {
	if c.Name == "" {
		return -1
	}
	i := l.column(s, doubt, c, where)
	if i >= 0 && s.Fields[i].Type == batch.Sparse {
		l.errorf(c.Pos, "expected a column with a text of its own", "key column %q is sparse", c.Name)
	}
	return i
}

// topics checks that what is written is not read, and that topics are not mixed up.
func (l *loader) topics() {
	own := map[string]string{}
	for _, suffix := range []string{"journal", "state", "delta", "model"} {
		own[l.p.Name+"."+suffix] = suffix
	}
	for _, op := range l.ops {
		if op.repartition() != nil {
			own[repartitionTopic(l.p, op.name)] = fmt.Sprintf("repartition %q", op.name)
		}
	}
	readBy, errorsOf := map[string]string{}, map[string]string{}
	check := func(topic string, at spec.Pos) {
		if topic == "." || topic == ".." {
			l.errorf(at, "expected "+topicNameWant, "no topic can be named %q", topic)
		}
		if what := own[topic]; what != "" {
			l.errorf(at, "expected another topic", "topic %q is the %s of this pipeline", topic, what)
		}
	}
	for _, s := range l.srcs {
		t := s.c.topic
		if t == "" {
			continue
		}
		check(t, s.c.at.topic)
		if other := readBy[t]; other != "" {
			l.errorf(s.c.at.topic, "expected one source, which several operators may read from", "topic %q is read by source %q already", t, other)
			continue
		}
		readBy[t] = s.name
	}
	for _, s := range l.srcs {
		t, at := s.c.errors, s.c.at.errors
		if t == "" {
			t, at = l.p.Name+".errors", s.c.at.topic
		} else {
			check(t, at)
		}
		errorsOf[t] = s.name
		if other := readBy[t]; other != "" {
			l.errorf(at, "expected another topic, for this would be a loop", "topic %q takes the errors of source %q and is read by source %q", t, s.name, other)
		}
	}
	for _, s := range l.outs {
		t := s.c.topic
		if t == "" {
			continue
		}
		check(t, s.c.at.topic)
		if other := readBy[t]; other != "" {
			l.errorf(s.c.at.topic, "expected another topic, for this would be a loop", "topic %q is read by source %q", t, other)
		} else if other := errorsOf[t]; other != "" {
			l.errorf(s.c.at.topic, "expected another topic", "topic %q takes the errors of source %q", t, other)
		}
	}
	formats := map[string]*sink{}
	for _, s := range l.outs {
		first := formats[s.c.topic]
		switch {
		case s.c.topic == "":
		case first == nil:
			formats[s.c.topic] = s
		case l.wrong(first.node, "format") || l.wrong(s.node, "format") || l.wrong(first.node, "partitions") || l.wrong(s.node, "partitions"):
		case first.c.format != s.c.format:
			l.errorf(s.c.at.topic, "expected one format in a topic", "topic %q has %s from sink %q and %s from this one", s.c.topic, first.c.format, first.name, s.c.format)
		case first.c.partitionsGiven && s.c.partitionsGiven && first.c.partitions != s.c.partitions:
			l.errorf(s.c.at.partitions, "expected the same", "topic %q has %d partitions from sink %q and %d from this one", s.c.topic, first.c.partitions, first.name, s.c.partitions)
		}
	}
}

// partitions compares the partition counts that the file gives. What it leaves
// to the brokers is compared when the pipeline starts.
func (l *loader) partitions() {
	given := func(s *source) bool {
		return (s.c.partitionsGiven || l.p.Kafka.Embedded()) && !l.wrong(s.node, "partitions")
	}
	most, all := 0, len(l.srcs) > 0
	for _, s := range l.srcs {
		most, all = max(most, s.c.partitions), all && given(s)
	}
	if all && l.p.Tasks > most {
		l.errorf(l.file.at.tasks, fmt.Sprintf("expected at most %d, or partitions", most), "%d tasks are more than the %d partitions there are", l.p.Tasks, most)
	}
	counts := map[string]int{} // of sources and repartitions, as far as they are known
	for _, s := range l.srcs {
		if given(s) {
			counts[s.name] = s.c.partitions
		}
	}
	for _, op := range l.ops {
		if r := op.repartition(); r != nil && len(op.bad) == 0 {
			_, counts[op.name] = r.Repartition()
		}
	}
	for _, op := range l.ops {
		if len(op.inputs) < 2 {
			continue
		}
		first := ""
		for _, name := range op.end.sources {
			if counts[name] == 0 {
				continue
			}
			if first == "" {
				first = name
			} else if counts[name] != counts[first] {
				at := op.c.fromAt
				l.errorf(at, "expected equal counts, so that rows that belong together meet in one task",
					"%q joins %s %q of %d partitions and %s %q of %d", op.name, l.readKind(first), first, counts[first], l.readKind(name), name, counts[name])
				break
			}
		}
	}
}

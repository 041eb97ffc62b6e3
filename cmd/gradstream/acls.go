package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/run"
)

// acl is what a user may do with one resource of the brokers.
type acl struct {
	kind       string // topic, group or transactional-id
	name       string
	prefixed   bool // all resources whose name begins so
	operations []string
}

// acls lists the least that the user of gradstream run needs, and what it needs
// beside that to create topics itself. Describe comes with Read, Write and Delete.
// Writing in a transaction, and idempotently, needs nothing of the cluster since
// Kafka 2.8.
func acls(ctx context.Context, p *pipeline.Pipeline) (needed, create []acl, err error) {
	_, _, topics, err := run.Topics(ctx, p, allThere{})
	if err != nil {
		return nil, nil, err
	}
	for _, t := range topics {
		one := acl{kind: "topic", name: t.Name}
		switch t.Role {
		case "source":
			one.operations = []string{"Read"}
		case "sink", "errors":
			one.operations = []string{"Read", "Write"} // reading: to see that what was written has ended
		default:
			one.operations = []string{"Read", "Write"}
			if t.Name != run.StateTopic(p) {
				one.operations = append(one.operations, "Delete") // of records that no checkpoint needs any more
			}
		}
		needed = append(needed, one)
		if t.Role != "source" {
			create = append(create, acl{kind: "topic", name: t.Name, operations: []string{"Create"}})
		}
	}
	needed = append(needed,
		acl{kind: "group", name: p.Name, operations: []string{"Read"}},
		acl{kind: "transactional-id", name: p.Name + "/", prefixed: true, operations: []string{"Write"}},
	)
	return needed, create, nil
}

// command writes an ACL as an invocation of Kafka's tool.
func (a acl) command(brokers, principal string) string {
	s := "kafka-acls.sh --bootstrap-server " + quoteShell(brokers) + " --add --allow-principal " + quoteShell(principal)
	for _, o := range a.operations {
		s += " --operation " + o
	}
	s += " --" + a.kind + " " + quoteShell(a.name)
	if a.prefixed {
		s += " --resource-pattern-type prefixed"
	}
	return s
}

// quoteShell quotes an argument where a shell would take it apart.
func quoteShell(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-/:,@+", r))
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// writeACLs prints the list as a script.
func writeACLs(ctx context.Context, w io.Writer, p *pipeline.Pipeline, principal string) error {
	needed, create, err := acls(ctx, p)
	if err != nil {
		return err
	}
	brokers := "HOST:PORT"
	if !p.Kafka.Embedded() {
		brokers = strings.Join(p.Kafka.Brokers, ",")
	}
	line := func(before string, a acl) { fmt.Fprintln(w, before+a.command(brokers, principal)) }
	fmt.Fprintf(w, "# What the user of gradstream run %s needs, and no more. Say who it is with --principal User:NAME;\n", quoteShell(p.File))
	fmt.Fprintf(w, "# kafka-acls.sh itself may need --command-config FILE to be let in.\n")
	for _, a := range needed {
		line("", a)
	}
	fmt.Fprintf(w, "# For its first start, to create these topics. Not needed where an administrator has run gradstream topics.\n")
	for _, a := range create {
		line("", a)
	}
	fmt.Fprintf(w, "# The user of gradstream produce, who need not be the same, needs instead:\n")
	for _, s := range p.Sources {
		line("# ", acl{kind: "topic", name: s.Topic, operations: []string{"Write"}})
	}
	return nil
}

// allThere stands in for brokers that have every topic, with partitions for any
// number of tasks.
type allThere struct{ connectors.Admin }

// Describe implements connectors.Admin.
func (allThere) Describe(_ context.Context, topics []string) (string, []connectors.TopicInfo, error) {
	infos := make([]connectors.TopicInfo, len(topics))
	for i, name := range topics {
		infos[i].Topic = connectors.Topic{Name: name, Partitions: 1 << 20}
	}
	return "", infos, nil
}

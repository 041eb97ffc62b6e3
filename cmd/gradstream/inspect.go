package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"

	"github.com/spf13/cobra"

	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/run"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// version is set by the release build.
var version = "dev"

func (a *app) validateCommand() *cobra.Command {
	var online bool
	c := &cobra.Command{
		Use:   "validate FILE...",
		Short: "Check pipeline files; every error is one line with its position",
		Args:  argFiles,
		RunE: func(cmd *cobra.Command, files []string) error {
			var all spec.Errors
			var good []*pipeline.Pipeline
			for _, file := range files {
				p, errs := pipeline.Load(file, pipeline.Options{Registry: registry, CheckAvro: checkAvro, Set: a.set})
				all = append(all, errs...)
				if len(errs) == 0 {
					good = append(good, p)
				}
			}
			if len(all) > 0 {
				return all
			}
			for _, p := range good {
				if online {
					if err := a.validateOnline(cmd.Context(), p); err != nil {
						return err
					}
				}
				fmt.Fprintf(a.out, "%s: ok: pipeline %s, %s, %s, %s\n", p.File, p.Name, count(len(p.Sources), "source"), count(len(p.Nodes), "operator"), count(len(p.Sinks), "sink"))
			}
			return nil
		},
	}
	c.Flags().BoolVar(&online, "online", false, "also check topics and partition counts on the brokers")
	a.addSet(c)
	return c
}

func (a *app) validateOnline(ctx context.Context, p *pipeline.Pipeline) error {
	b, err := a.connect(ctx, p, connectOptions{look: true})
	if err != nil {
		return err
	}
	defer b.close()
	_, tasks, topics, err := run.Topics(ctx, p, b.cluster)
	if err != nil {
		return err
	}
	for _, t := range topics {
		state := count(t.Partitions, "partition")
		if t.Missing {
			state = "missing; run would create it with " + state
			if t.Role == "source" && !p.Kafka.Embedded() {
				return wrongInput("%s: source topic %q does not exist", p.File, t.Name)
			}
		}
		fmt.Fprintf(a.out, "  %-8s %s: %s\n", t.Role, t.Name, state)
	}
	fmt.Fprintf(a.out, "  tasks    %d\n", tasks)
	doubts, err := run.Doubts(ctx, p, b.cluster)
	if err != nil {
		return err
	}
	for _, d := range doubts {
		fmt.Fprintf(a.out, "  warning  %s\n", d)
	}
	return nil
}

func (a *app) graphCommand() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "graph FILE",
		Short: "Print the operator graph with the columns of every edge",
		Args:  argFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains([]string{"text", "mermaid", "dot"}, format) {
				return usage(cmd, "--format %s: expected text, mermaid or dot", format)
			}
			p, err := a.load(args[0])
			if err != nil {
				return err
			}
			return pipeline.WriteGraph(a.out, p, format)
		},
	}
	c.Flags().StringVar(&format, "format", "text", "text, mermaid or dot")
	a.addSet(c)
	return c
}

func (a *app) operatorsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "operators [NAME]",
		Short: "List the operators, or print the page of one",
		Args:  argsUpTo(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return pipeline.WriteOperators(a.out, registry)
			}
			def := registry.Lookup(args[0])
			if def == nil {
				if near := meant(args[0], registry.Names()); near != "" {
					return wrongInput("no operator %q%s", args[0], near)
				}
				return wrongInput("no operator %q; gradstream operators lists them", args[0])
			}
			return pipeline.WriteOperator(a.out, def)
		},
	}
}

func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of pipeline files, for editors",
		Args:  argsUpTo(0),
		RunE: func(*cobra.Command, []string) error {
			text, err := json.MarshalIndent(pipeline.Schema(registry), "", "  ")
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.out, "%s\n", text)
			return err
		},
	}
}

func (a *app) docsCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "docs DIR",
		Short:  "Write the reference pages and the JSON Schema to a folder",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			f, err := os.Create(filepath.Join(args[0], "pipeline.md"))
			if err != nil {
				return err
			}
			if err := pipeline.WriteReference(f, registry); err != nil {
				return err
			}
			if err := f.Close(); err != nil {
				return err
			}
			text, err := json.MarshalIndent(pipeline.Schema(registry), "", "  ")
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(args[0], "pipeline.schema.json"), append(text, '\n'), 0o644)
		},
	}
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version, commit and Go version",
		Args:  argsUpTo(0),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(a.out, "gradstream %s, commit %s, %s %s/%s\n", version, commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

// commit returns the commit the binary was built from, as far as Go recorded it.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	rev, dirty := "unknown", ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			rev = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				dirty = "+changes"
			}
		}
	}
	return rev + dirty
}

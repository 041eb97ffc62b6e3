package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// argFile takes exactly one argument, a pipeline file.
func argFile(c *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return usage(c, "a pipeline file is missing")
	case 1:
		return nil
	}
	return usage(c, "expected one pipeline file, got %s", strings.Join(args, " "))
}

// argFiles takes one pipeline file or more.
func argFiles(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usage(c, "a pipeline file is missing")
	}
	return nil
}

// argsUpTo takes at most n arguments. It is also what refuses a subcommand that
// does not exist.
func argsUpTo(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) <= n {
			return nil
		}
		if c.HasSubCommands() {
			var names []string
			for _, s := range c.Commands() {
				if s.IsAvailableCommand() {
					names = append(names, s.Name())
				}
			}
			return usage(c, "no command %q%s", args[n], meant(args[n], names))
		}
		return usage(c, "%q is one argument too many", args[n])
	}
}

// expected says what flags of a type take.
var expected = map[string]string{
	"int": "a whole number", "int64": "a whole number", "uint64": "a whole number, 0 or more", "float64": "a number",
	"bool": "true or false", "duration": "a duration such as 10s",
}

// flagError explains a flag that does not exist or cannot be read.
func flagError(c *cobra.Command, err error) error {
	var bad *pflag.InvalidValueError
	if errors.As(err, &bad) {
		if what := expected[bad.GetFlag().Value.Type()]; what != "" {
			return usage(c, "--%s %s: expected %s", bad.GetFlag().Name, bad.GetValue(), what)
		}
	}
	name, unknown := strings.CutPrefix(err.Error(), "unknown flag: --")
	if !unknown {
		return usage(c, "%v", err)
	}
	var names []string
	add := func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	}
	c.LocalFlags().VisitAll(add)
	c.InheritedFlags().VisitAll(add)
	near := ""
	if n := spec.Nearest(name, names); n != "" {
		near = fmt.Sprintf("; did you mean --%s?", n)
	}
	return usage(c, "no flag --%s%s", name, near)
}

// usage is an error of the command line, with where to read more.
func usage(c *cobra.Command, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if strings.HasSuffix(text, "?") {
		return wrongInput("%s", text)
	}
	return wrongInput("%s; %s --help explains", text, c.CommandPath())
}

// meant suggests the name that was probably meant.
func meant(name string, names []string) string {
	if n := spec.Nearest(name, names); n != "" {
		return fmt.Sprintf("; did you mean %q?", n)
	}
	return ""
}

// checkTask refuses the number of a task that is given and cannot be one.
func checkTask(c *cobra.Command, task int) error {
	if c.Flags().Changed("task") && task < 0 {
		return wrongInput("--task %d: expected the number of a task, from 0", task)
	}
	return nil
}

// noSource says that a pipeline has no source of this name.
func noSource(flag string, p *pipeline.Pipeline, name string) error {
	return wrongInput("%s: the pipeline has no source %q; it has: %s", flag, name, strings.Join(sourceNames(p), ", "))
}

// count writes a number and what it counts, in the plural where that is due.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Command gradstream runs online-learning pipelines over Kafka topics and files.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/gradstream/gradstream/pipeline/run"
	"github.com/gradstream/gradstream/pipeline/spec"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // a second signal ends the process at once
	}()
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // something failed at run time
	exitInput  = 2 // the command line, the pipeline file or its environment is wrong
)

// inputError marks an error as the user's: exit code 2.
type inputError struct{ error }

func (e inputError) Unwrap() error { return e.error }

func wrongInput(format string, args ...any) error { return inputError{fmt.Errorf(format, args...)} }

// app is what all commands share.
type app struct {
	out, err  io.Writer
	logFormat string
	logLevel  string
	set       []string
	http      listenOptions
	token     string // of the HTTP listener; "" = none
	log       *slog.Logger
	care      care
	history   history
	backfills []run.Backfill
	memory    int64 // that the process should keep to; 0 = no limit is known
}

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, out, errOut io.Writer) int {
	a := &app{out: out, err: errOut, care: defaultCare}
	root := a.root()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	var input inputError
	var file spec.Errors
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &file):
		fmt.Fprintln(errOut, strings.TrimRight(file.Error(), "\n"))
		return exitInput
	case errors.As(err, &input), isUsage(err):
		fmt.Fprintln(errOut, "gradstream:", err)
		return exitInput
	case err == ctx.Err(): // nothing else went wrong
		fmt.Fprintln(errOut, "gradstream: interrupted")
		return exitFailed
	default:
		fmt.Fprintln(errOut, "gradstream:", err)
		return exitFailed
	}
}

// isUsage recognises the errors of the commands that the parser adds itself,
// which have no type.
func isUsage(err error) bool {
	text := err.Error()
	for _, p := range []string{"unknown command", "accepts ", "requires at least"} {
		if strings.HasPrefix(text, p) {
			return true
		}
	}
	return false
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "gradstream",
		Short: "Streaming online learning over Kafka topics and files",
		Long: `gradstream runs online-learning pipelines. A pipeline is one YAML file: events
come from Kafka topics, operators turn them into features, predict, learn from
the label and watch for drift, and results go back to topics, exactly once.

Start with:  gradstream demo`,
		Args: argsUpTo(0),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },

		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			return a.openLog()
		},
	}
	root.SetFlagErrorFunc(flagError)
	f := root.PersistentFlags()
	f.StringVar(&a.logFormat, "log-format", "text", "format of the log on stderr: text or json")
	f.StringVar(&a.logLevel, "log-level", "info", "least level that is logged: debug, info, warn or error")
	root.AddCommand(a.validateCommand(), a.graphCommand(), a.operatorsCommand(), a.schemaCommand(), a.versionCommand(),
		a.evaluateCommand(), a.testCommand(), a.runCommand(), a.demoCommand(), a.produceCommand(), a.topicsCommand(), a.stateCommand(), a.migrateCommand(), a.replayCommand(), a.explainCommand(), a.docsCommand())
	return root
}

func (a *app) openLog() error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.logLevel)); err != nil {
		return wrongInput("--log-level %q: expected debug, info, warn or error", a.logLevel)
	}
	o := &slog.HandlerOptions{Level: level}
	switch a.logFormat {
	case "text":
		a.log = slog.New(slog.NewTextHandler(a.err, o))
	case "json":
		a.log = slog.New(slog.NewJSONHandler(a.err, o))
	default:
		return wrongInput("--log-format %q: expected text or json", a.logFormat)
	}
	return nil
}

// addSet adds the flag by which anything in a pipeline file can be overridden.
func (a *app) addSet(c *cobra.Command) {
	c.Flags().StringArrayVar(&a.set, "set", nil, "override a value of the pipeline file: `path=value`, as in operators.ctr.logistic_regression.l2=0 (repeatable)")
}

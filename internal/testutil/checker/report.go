package checker

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Rule names what was violated; see the package's documentation.
type Rule string

// The rules.
const (
	I1   Rule = "I1"
	I2   Rule = "I2"
	I4   Rule = "I4"
	K1   Rule = "K1"
	K2   Rule = "K2"
	K4   Rule = "K4"
	K7   Rule = "K7"
	K8   Rule = "K8"
	K9   Rule = "K9"
	K11  Rule = "K11"
	Once Rule = "ids"
)

// Violation is one thing that must not be. Topic, Partition and Offset say where it was seen, if Topic is not empty.
type Violation struct {
	Rule      Rule
	Task      int    // -1: of no task
	Step      uint64 // 0: of no step
	Topic     string
	Partition int32
	Offset    int64 // -1: of the whole partition
	Text      string
}

func (v Violation) String() string {
	var b strings.Builder
	b.WriteString(string(v.Rule))
	if v.Task >= 0 {
		fmt.Fprintf(&b, " task %d", v.Task)
	}
	if v.Step > 0 {
		fmt.Fprintf(&b, " step %d", v.Step)
	}
	if v.Topic != "" {
		fmt.Fprintf(&b, " %s[%d]", v.Topic, v.Partition)
		if v.Offset >= 0 {
			fmt.Fprintf(&b, "@%d", v.Offset)
		}
	}
	return b.String() + ": " + v.Text
}

// TaskReport is what was found of one task.
type TaskReport struct {
	Steps        int
	Opens        int
	Incarnations int // different ones among the opens
	Inputs       int64
	Outputs      int64
	First, Last  uint64 // steps in the journal; First is not 1 if it was trimmed
	Hash         [32]byte
	Digest       uint64 // of the state after step DigestAt, as the journal has it
	DigestAt     uint64 // 0: the journal has none
}

// Report is the result of a check.
type Report struct {
	Violations  []Violation  // at most [MaxViolations] of each rule
	Counts      map[Rule]int // all of them
	Tasks       []TaskReport
	Inputs      int64 // records consumed, as the journals say
	Outputs     int64 // records published, rejected ones included
	Rejected    int64 // records in errors topics
	IDs         int64 // distinct ids expected
	Lost        int64 // of them, not in the output
	Duplicated  int64 // of them, more than once in the output
	Checkpoints int   // checkpoints looked at
	Digests     int   // of them, compared with the journal's digest
}

// MaxViolations bounds how many violations of a rule are listed; all are counted.
const MaxViolations = 20

func (r *Report) add(v Violation) {
	if r.Counts == nil {
		r.Counts = map[Rule]int{}
	}
	if r.Counts[v.Rule]++; r.Counts[v.Rule] <= MaxViolations {
		r.Violations = append(r.Violations, v)
	}
}

// Err returns nil if nothing was violated, and otherwise an error that lists what was.
func (r *Report) Err() error {
	if len(r.Counts) == 0 {
		return nil
	}
	var b strings.Builder
	b.WriteString("exactly once was violated:")
	for _, rule := range slices.Sorted(maps.Keys(r.Counts)) {
		fmt.Fprintf(&b, " %s %d times;", rule, r.Counts[rule])
	}
	for _, v := range r.Violations {
		b.WriteString("\n\t" + v.String())
	}
	return errors.New(b.String())
}

func (r *Report) String() string {
	steps, opens := 0, 0
	for _, t := range r.Tasks {
		steps, opens = steps+t.Steps, opens+t.Opens
	}
	s := fmt.Sprintf("%d tasks, %d steps, %d opens, %d inputs, %d outputs (%d rejected), %d ids (%d lost, %d duplicated), %d checkpoints (%d digests)",
		len(r.Tasks), steps, opens, r.Inputs, r.Outputs, r.Rejected, r.IDs, r.Lost, r.Duplicated, r.Checkpoints, r.Digests)
	if err := r.Err(); err != nil {
		s += ": " + err.Error()
	}
	return s
}

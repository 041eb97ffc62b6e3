package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/gradstream/gradstream/pipeline/run"
)

// demoView shows snapshots: on a terminal as a picture that is drawn anew some
// times a second, elsewhere as one line a second.
type demoView struct {
	w        io.Writer
	terminal bool
	color    bool

	mu     sync.Mutex
	open   bool
	closed bool
}

func newDemoView(w io.Writer, terminal bool) *demoView {
	return &demoView{w: w, terminal: terminal, color: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func (v *demoView) every() time.Duration {
	if v.terminal {
		return 200 * time.Millisecond
	}
	return time.Second
}

// What a terminal is told. The picture has a screen of its own, so that the
// scrollback stays clean and a change of size does no harm.
const (
	screenOpen  = "\x1b[?1049h\x1b[?25l"
	screenClose = "\x1b[?25h\x1b[?1049l"
	cursorHome  = "\x1b[H"
	eraseLine   = "\x1b[K"
	eraseBelow  = "\x1b[J"
)

// show draws a snapshot.
func (v *demoView) show(s *demoSnapshot) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return
	}
	if !v.terminal {
		fmt.Fprintln(v.w, renderDemoLine(s))
		return
	}
	width, height := 80, 24
	if f, ok := v.w.(*os.File); ok {
		if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 0 && h > 0 {
			width, height = w, h
		}
	}
	var b strings.Builder
	if !v.open {
		v.open = true
		b.WriteString(screenOpen)
	}
	b.WriteString(cursorHome)
	lines := renderDemo(s, width, height, v.color)
	for i, line := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(line + eraseLine)
	}
	b.WriteString(eraseBelow)
	_, _ = io.WriteString(v.w, b.String())
}

// close gives the terminal back. It may be called more than once.
func (v *demoView) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
	if v.open {
		v.open = false
		_, _ = io.WriteString(v.w, screenClose)
	}
}

// Styles.
const (
	styleBold   = "1"
	styleDim    = "2"
	styleGood   = "32"
	styleWarn   = "33"
	styleBad    = "31"
	styleAccent = "36"
)

// canvas builds lines of bounded width. Styles take no width.
type canvas struct {
	width int
	color bool
	lines []string
	line  strings.Builder
	used  int
}

// put appends text in a style, cut at the edge.
func (c *canvas) put(style, text string) {
	room := c.width - c.used
	if n := utf8.RuneCountInString(text); n > room {
		runes := []rune(text)
		if room <= 0 {
			return
		}
		text = string(runes[:room-1]) + "…"
	}
	c.used += utf8.RuneCountInString(text)
	if style != "" && c.color {
		c.line.WriteString("\x1b[" + style + "m" + text + "\x1b[0m")
		return
	}
	c.line.WriteString(text)
}

// right appends text that ends at the edge.
func (c *canvas) right(style, text string) {
	if pad := c.width - c.used - utf8.RuneCountInString(text); pad > 0 {
		c.put("", strings.Repeat(" ", pad))
		c.put(style, text)
	}
}

func (c *canvas) end() {
	c.lines = append(c.lines, strings.TrimRight(c.line.String(), " "))
	c.line.Reset()
	c.used = 0
}

// renderDemo draws a snapshot: at most height lines of at most width characters.
func renderDemo(s *demoSnapshot, width, height int, color bool) []string {
	c := &canvas{width: max(width, 20), color: color}
	spark := min(34, max(8, c.width-46))
	c.put(styleBold, " gradstream demo")
	c.put(styleDim, "  "+s.Stream+": "+s.Question)
	c.right(styleDim, clock(s.Elapsed)+" ")
	c.end()
	c.end()

	share := 0.0
	if s.Total > 0 {
		share = float64(s.Predictions) / float64(s.Total)
	}
	c.label("events")
	c.put(styleBold, fmt.Sprintf("%11s", thousands(s.Predictions)))
	c.put(styleDim, fmt.Sprintf(" of %-11s ", thousands(s.Total)))
	c.put(styleAccent, bar(share, spark-5))
	c.put("", fmt.Sprintf(" %3.0f %%", math.Floor(100*share)))
	c.end()
	c.label("rate")
	c.put(styleBold, fmt.Sprintf("%11s", thousands(int64(math.Round(s.Rate)))))
	c.put(styleDim, " events/s       ")
	c.put(styleAccent, sparkline(s.Rates, spark, true))
	c.end()
	c.label("lag")
	c.put(styleBold, fmt.Sprintf("%11s", thousands(s.Lag())))
	c.put(styleDim, " events         ")
	c.put(styleAccent, sparkline(s.Lags, spark, true))
	c.end()
	c.label("latency")
	c.put(styleBold, fmt.Sprintf("%8d ms", s.P50.Milliseconds()))
	c.put(styleDim, " median, ")
	c.put(styleBold, fmt.Sprintf("%d ms", s.P99.Milliseconds()))
	c.put(styleDim, " p99, from sent to committed and read")
	c.end()
	c.end()

	c.put(styleDim, fmt.Sprintf("           %11s %11s   %s", "model", "no change", "the model, piece by piece"))
	c.end()
	for i, m := range s.Scores {
		c.label(m.Name)
		if !m.Known {
			c.put(styleDim, fmt.Sprintf("%11s %11s", "–", "–"))
			c.end()
			continue
		}
		style := styleGood
		if better := m.Model > m.Baseline; better == (demoScores[i].metric == "log_loss") {
			style = styleWarn
		}
		c.put(styleBold+";"+style, fmt.Sprintf("%11.4f", m.Model))
		c.put("", fmt.Sprintf(" %11.4f   ", m.Baseline))
		c.put(style, sparkline(m.Recent, spark, false))
		c.end()
	}
	c.label("drifts")
	c.put(styleBold, fmt.Sprintf("%11d", len(s.Drifts)))
	if n := len(s.Drifts); n > 0 {
		c.put(styleDim, "   latest ")
		c.put(styleWarn, s.Drifts[n-1].String())
	}
	c.end()
	c.end()

	foot := 6
	if s.Stopping != "" {
		foot++
	}
	c.put(styleDim, fmt.Sprintf(" %-5s %-7s %8s %11s   %-17s %s", "task", "phase", "step", "events", "event time", "partitions, read"))
	c.end()
	room := max(1, height-len(c.lines)-foot)
	for i, t := range s.Tasks {
		if i == room-1 && len(s.Tasks) > room {
			c.put(styleDim, fmt.Sprintf(" and %d more tasks", len(s.Tasks)-i))
			c.end()
			break
		}
		style := styleWarn
		switch t.Phase {
		case run.Live.String():
			style = styleGood
		case run.Failed.String(), run.Lost.String():
			style = styleBad
		}
		event := "–"
		if !t.Event.IsZero() {
			event = t.Event.Format("2006-01-02 15:04")
		}
		c.put("", fmt.Sprintf(" %-5d ", t.Task))
		c.put(style, fmt.Sprintf("%-7s", t.Phase))
		c.put("", fmt.Sprintf(" %8s %11s   %-17s ", thousands(int64(t.Step)), thousands(t.Rows), event))
		c.put(styleDim, t.Partitions)
		c.end()
	}
	if len(s.Tasks) == 0 {
		c.put(styleDim, " waiting for the group to hand out tasks")
		c.end()
	}
	c.end()
	c.label("broker")
	c.put("", s.Broker)
	c.put(styleDim, "  embedded, for development: one process, one copy")
	c.end()
	// Too long for a line, the command goes on in a second one, so that it can be
	// copied.
	c.label("read on")
	if head, rest, ok := strings.Cut(s.ReadAlong, " -X "); ok && c.used+utf8.RuneCountInString(s.ReadAlong) > c.width {
		c.put("", head+" \\")
		c.end()
		c.put("", "             -X "+rest)
	} else {
		c.put("", s.ReadAlong)
	}
	c.end()
	c.label("page")
	if s.URL != "" {
		c.put("", s.URL)
	} else {
		c.put(styleDim, "off")
	}
	c.right(styleDim, "Ctrl-C ends ")
	c.end()
	if s.Stopping != "" {
		c.put(styleWarn, " "+s.Stopping)
		c.end()
	}
	if len(c.lines) > height {
		c.lines = c.lines[:height]
	}
	return c.lines
}

func (c *canvas) label(name string) { c.put(styleDim, fmt.Sprintf(" %-9s ", name)) }

// renderDemoLine is a snapshot as one plain line.
func renderDemoLine(s *demoSnapshot) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s events  %s/s  lag %s", clock(s.Elapsed), thousands(s.Predictions), thousands(int64(math.Round(s.Rate))), thousands(s.Lag()))
	for _, m := range s.Scores {
		if m.Known {
			fmt.Fprintf(&b, "  %s %.4f (no change %.4f)", m.Name, m.Model, m.Baseline)
		}
	}
	fmt.Fprintf(&b, "  drifts %d", len(s.Drifts))
	if s.Stopping != "" {
		b.WriteString("  " + s.Stopping)
	}
	return b.String()
}

// renderDemoSummary is what is said at the end.
func renderDemoSummary(s *demoSnapshot) string {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-12s %s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "\n%s: %s\n", s.Stream, s.Question)
	row("events", "%s sent of %s, %s rejected", thousands(s.Sent), thousands(s.Total), thousands(s.Rejected))
	row("predictions", "%s read back from %s, read_committed", thousands(s.Predictions), s.Topic)
	row("", "%s duplicates, %s missing", thousands(s.Duplicates), thousands(s.Missing))
	if s.Mean > 0 {
		row("throughput", "%s events/s", thousands(int64(math.Round(s.Mean))))
		row("latency", "%d ms median, %d ms p99, from sent to committed and read", s.P50.Milliseconds(), s.P99.Milliseconds())
	}
	for _, m := range s.Scores {
		if m.Known {
			row(m.Name, "%.4f; no change %.4f", m.Model, m.Baseline)
		}
	}
	row("drifts", "%d found", len(s.Drifts))
	found := slices.Clone(s.Drifts)
	slices.SortFunc(found, func(a, b demoDrift) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Task, b.Task), cmp.Compare(a.Row, b.Row))
	})
	const most, inLine = 32, 2
	for len(found) > 0 {
		var texts []string
		for _, f := range found[:min(inLine, len(found))] {
			texts = append(texts, f.String())
		}
		row("", "%s", strings.Join(texts, ", "))
		if found = found[len(texts):]; len(s.Drifts)-len(found) >= most && len(found) > 0 {
			row("", "and %d more", len(found))
			break
		}
	}
	if s.ChangeAt >= 0 && s.Sent > s.ChangeAt {
		row("", "the stream changed at event %s, %s", thousands(s.ChangeAt), time.UnixMilli(generatedStart+s.ChangeAt*1000).UTC().Format("2006-01-02 15:04"))
	}
	return b.String()
}

// String says when and where, shortly.
func (d demoDrift) String() string {
	if d.At.IsZero() {
		return fmt.Sprintf("task %d, event %s", d.Task, thousands(d.Row))
	}
	return fmt.Sprintf("%s (task %d)", d.At.Format("2006-01-02 15:04"), d.Task)
}

// partitionText says how far a partition was read.
func partitionText(p run.PartitionState) string {
	return fmt.Sprintf("[%d] %s of %s", p.Partition, thousands(p.Next), thousands(max(p.End, p.Next)))
}

var sparks = []rune("▁▂▃▄▅▆▇█")

// sparkline draws the latest numbers, a character each, between the least and the
// greatest of them; or, from zero, between zero and the greatest.
func sparkline(values []float64, width int, zero bool) string {
	if len(values) > width {
		values = values[len(values)-width:]
	}
	if len(values) == 0 {
		return ""
	}
	low, high := values[0], values[0]
	for _, v := range values {
		low, high = min(low, v), max(high, v)
	}
	if zero {
		low = 0
	}
	var b strings.Builder
	for _, v := range values {
		i := 0
		if high > low {
			i = int(math.Round((v - low) / (high - low) * float64(len(sparks)-1)))
		}
		b.WriteRune(sparks[min(max(i, 0), len(sparks)-1)])
	}
	return b.String()
}

// bar is a bar of the given width, full to a share.
func bar(share float64, width int) string {
	full := int(math.Floor(min(max(share, 0), 1) * float64(width)))
	return strings.Repeat("█", full) + strings.Repeat("░", width-full)
}

func clock(d time.Duration) string {
	s := int(d.Seconds())
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}

// thousands writes a count with commas.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

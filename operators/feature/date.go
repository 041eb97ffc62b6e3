package feature

import (
	"time"

	"github.com/gradstream/gradstream/internal/exact"
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// cycleNames are the cycles of a date, each a place on a circle.
var cycleNames = []string{"day", "week", "year"}

// date is a column of times taken as places on cycles.
type date struct {
	name   string
	col    operators.Col
	cycles []cycle
}

type cycle struct {
	name     string
	sin, cos uint32 // indices
}

func newDate(env *operators.Env, col spec.Column, c *vectorizeConfig) date {
	d := date{name: col.Name, col: env.In(col, batch.Timestamp, batch.Int64)}
	for _, name := range c.cycles {
		index := func(f string) uint32 { return uint32(nameHash(1, col.Name, f+" "+name)) & (1<<c.bits - 1) }
		d.cycles = append(d.cycles, cycle{name, index("sin"), index("cos")})
	}
	return d
}

// addTo appends the features of a time, in milliseconds since 1970.
func (d *date) addTo(ms int64, to *batch.Column) {
	for i := range d.cycles {
		c := &d.cycles[i]
		sin, cos := exact.SinCosTurn(turn(c.name, ms))
		to.AddFeature(c.sin, float32(sin))
		to.AddFeature(c.cos, float32(cos))
	}
}

const (
	dayMillis = 24 * 60 * 60 * 1000
	// 1970 began on a Thursday: three days after the start of a week.
	weekOffset = 3 * dayMillis
)

// turn is the part of the cycle that has passed, from 0 to below 1.
func turn(cycle string, ms int64) float64 {
	switch cycle {
	case "day":
		return float64(mod(ms, dayMillis)) / dayMillis
	case "week":
		return float64(mod(mod(ms, 7*dayMillis)+weekOffset, 7*dayMillis)) / (7 * dayMillis)
	}
	at := time.UnixMilli(ms).UTC()
	days := 365.0
	if y := at.Year(); y%4 == 0 && (y%100 != 0 || y%400 == 0) {
		days = 366
	}
	return (float64(at.YearDay()-1) + float64(mod(ms, dayMillis))/dayMillis) / days
}

// mod is the remainder that is not negative.
func mod(a, b int64) int64 { return ((a % b) + b) % b }

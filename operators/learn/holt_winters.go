package learn

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/learn/gaussian"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

var _ = Family.Add(operators.Define(operators.Spec[holtWintersConfig]{
	Name:    "holt_winters",
	Summary: "Forecasts a series with a level, a trend and a season by exponential smoothing.",
	Doc: "Each row is the next value y of one series (Holt 1957; Winters, Management Science 6, 1960). With l the level, b the trend and s the season of this place, l⁺ and b⁺ behind y: " +
		"additive l⁺ = α(y - s) + (1-α)(l + b), s⁺ = γ(y - l - b) + (1-γ)s; multiplicative l⁺ = α·y/s + (1-α)(l + b), s⁺ = γ·y/(l + b) + (1-γ)s; both b⁺ = β(l⁺ - l) + (1-β)b. The forecast of k steps is l + k·b plus, or times, the season of that place. Without a season (season: none) s is left out.\n\n" +
		"It starts from the first `period` values, at least two: the level is their mean, the trend the mean of their differences, the seasons their distance from the level, or their ratio to it. Until then there is no forecast. " +
		"A multiplicative season is kept between 1e-20 and 1e20, and stays as it is where l + b is not above 0.\n\n" +
		"A row whose value is null is forecast, and is no step of the series. A multiplicative season takes values above 0 only; others reject the row, as do values beyond ±1e100 and those that would overflow the model.\n\n" +
		"Cost: constant time; memory 8 bytes for each place of the period.",
	Role: operators.Learner,
	Columns: "Those of the input, and `NODE.prediction`: float64?, the forecast of this row made without its value; `NODE.loss`: float64?, its squared error; `NODE.version`: int64, the values learnt before this row; " +
		"for each K from 1 to horizon `NODE.ahead.K`: float64?, the forecast, made with this row's value, of the value K steps later.",
	Examples: []spec.Example{{
		Title:  "A trend, two steps ahead",
		Config: "holt_winters: {label: y, alpha: 0.5, beta: 0.5, horizon: 2}",
		In:     "t:int64,y:float64?\n1,1\n2,2\n3,3\n3,\n4,4\n",
		Out:    "t,y,node.prediction,node.loss,node.version,node.ahead.1,node.ahead.2\n1,1,,,0,,\n2,2,,,1,2.5,3.5\n3,3,2.5,0.25,2,3.875,5\n3,,3.875,,3,3.875,5\n4,4,3.875,0.015625,3,5.09375,6.25\n",
	}, {
		Title:  "A season of two",
		Config: "holt_winters: {label: y, season: {multiplicative: {period: 2}}}",
		In:     "y:float64?\n1\n3\n1\n3\n",
		Out:    "y,node.prediction,node.loss,node.version\n1,,,0\n3,,,1\n1,2,1,2\n3,8.01,25.100099999999998,3\n",
	}},
	Build: newHoltWinters,
}))

type holtWintersConfig struct {
	label              spec.Column
	alpha, beta, gamma float64
	season             spec.Choice
	horizon            int
}

type seasonConfig struct{ period int }

func (c *seasonConfig) Fields(f *spec.Fields) {
	f.Int(&c.period, "period", 12, "Steps of a season.").Within(2, 100_000).Pin()
}

func (c *holtWintersConfig) Fields(f *spec.Fields) {
	f.Column(&c.label, "label", "", "The values of the series; null = not known yet.").Required().Example("y")
	f.Float(&c.alpha, "alpha", 0.3, "Weight of a value in the level.").Within(0, 1)
	f.Float(&c.beta, "beta", 0.1, "Weight of the last change in the trend.").Within(0, 1)
	f.Float(&c.gamma, "gamma", 0.6, "Weight of a value in its season.").Within(0, 1)
	period := func() spec.Config { return new(seasonConfig) }
	f.Choice(&c.season, "season", "none", []spec.Option{
		{Name: "none", Summary: "A level and a trend alone (Holt)."},
		{Name: "additive", Summary: "The season is added.", New: period},
		{Name: "multiplicative", Summary: "The season multiplies.", New: period},
	}, "How the season comes in.").Pin()
	f.Int(&c.horizon, "horizon", 0, "Steps ahead to forecast behind each row, each in a column of its own.").Within(0, 1000)
}

// holtWintersVersion is the version of holtWintersState.
const holtWintersVersion = 1

type holtWintersState struct {
	Version      int64
	Recent       recent
	Level, Trend float64
	First        []float64 // the first values, until there are enough
	Season       []float64
	Place        int64 // of the next value in Season
}

type holtWinters struct {
	alpha, beta, gamma        float64
	period                    int // 0 = no season
	multiplicative            bool
	label                     operators.Col
	labelName                 string
	prediction, lost, version operators.Col
	ahead                     []operators.Col
	s                         holtWintersState
}

func newHoltWinters(c *holtWintersConfig, env *operators.Env) operators.Operator {
	o := &holtWinters{alpha: c.alpha, beta: c.beta, gamma: c.gamma, label: env.InNumber(c.label), labelName: c.label.Name}
	if s, ok := c.season.Config.(*seasonConfig); ok {
		o.period, o.multiplicative = s.period, c.season.Name == "multiplicative"
	}
	o.prediction = env.AddOwn("prediction", batch.Float64, true)
	o.lost = env.AddOwn("loss", batch.Float64, true)
	o.version = env.AddOwn("version", batch.Int64, false)
	for k := range c.horizon {
		o.ahead = append(o.ahead, env.AddOwn("ahead."+strconv.Itoa(k+1), batch.Float64, true))
	}
	env.BindValue("model", holtWintersVersion, &o.s)
	env.Report(func(r *operators.Report) { reportLearner(r, o.s.Version, float64(len(o.s.Season)), 0, o.s.Recent) })
	return o
}

var errSeries = errors.New("the value would overflow the level, the trend or the season")

func (o *holtWinters) started() bool { return o.s.Version >= int64(max(2, o.period)) }

// forecast is the value in k steps, k ≥ 1.
func (o *holtWinters) forecast(k int) float64 {
	y := o.s.Level + float64(float64(k)*o.s.Trend)
	if o.period == 0 {
		return y
	}
	s := o.s.Season[(int(o.s.Place)+k-1)%o.period]
	if o.multiplicative {
		return y * s
	}
	return y + s
}

func (o *holtWinters) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	label, lost := o.label.Of(in), o.lost.Of(in)
	prediction, version := o.prediction.Of(in), o.version.Of(in).Ints
	for row := range in.N {
		version[row] = o.s.Version
		started, before := o.started(), 0.0
		if started {
			before = o.forecast(1)
			prediction.Floats[row] = before
		} else {
			prediction.SetNull(row)
		}
		y, known := label.Number(row)
		if known {
			if err := o.learn(y); err != nil {
				out.Reject(row, err)
				continue
			}
		}
		if d := y - before; known && started {
			lost.Floats[row] = float64(d * d)
			o.s.Recent.add(lost.Floats[row])
		} else {
			lost.SetNull(row)
		}
		for k, c := range o.ahead {
			if o.started() {
				c.Of(in).Floats[row] = o.forecast(k + 1)
			} else {
				c.Of(in).SetNull(row)
			}
		}
	}
	return out.Emit(in)
}

// learn takes the next value of the series; on an error nothing has changed.
func (o *holtWinters) learn(y float64) error {
	switch {
	case math.Abs(y) > gaussian.Most:
		return fmt.Errorf("label %q is %v; expected a number from -1e100 to 1e100", o.labelName, y)
	case o.multiplicative && y <= 0:
		return fmt.Errorf("label %q is %v; a multiplicative season takes numbers above 0", o.labelName, y)
	}
	if !o.started() {
		o.s.First = append(o.s.First, y)
		if len(o.s.First) == max(2, o.period) {
			o.start()
		}
		o.s.Version++
		return nil
	}
	s, base := 0.0, o.s.Level+o.s.Trend
	place := int(o.s.Place)
	level, season := y, 0.0 // what the value says of them
	switch {
	case o.period == 0:
	case o.multiplicative:
		s = o.s.Season[place]
		if level, season = y/s, s; base > 0 {
			season = y / base
		}
	default:
		s = o.s.Season[place]
		level, season = y-s, y-base
	}
	level = float64(o.alpha*level) + float64((1-o.alpha)*base)
	trend := float64(o.beta*(level-o.s.Level)) + float64((1-o.beta)*o.s.Trend)
	season = o.kept(float64(o.gamma*season) + float64((1-o.gamma)*s))
	if !sound(level) || !sound(trend) || !sound(season) {
		return errSeries
	}
	o.s.Level, o.s.Trend = level, trend
	if o.period > 0 {
		o.s.Season[place] = season
		o.s.Place = int64((place + 1) % o.period)
	}
	o.s.Version++
	return nil
}

// start makes the model from the first values.
func (o *holtWinters) start() {
	first := o.s.First
	level, n := 0.0, float64(len(first))
	for _, y := range first {
		level += y / n
	}
	trend := (first[len(first)-1] - first[0]) / (n - 1) // the mean of the differences
	var seasons []float64
	for _, y := range first[:o.period] {
		season := y - level
		if o.multiplicative {
			season = y / level
		}
		seasons = append(seasons, o.kept(season))
	}
	o.s.Level, o.s.Trend, o.s.Season, o.s.First = level, trend, seasons, nil
}

// sound tells that forecasts and their squared errors stay finite.
func sound(x float64) bool { return math.Abs(x) <= 1e120 }

// kept is a season within its bounds: one of 0 could not be divided by ever again.
func (o *holtWinters) kept(season float64) float64 {
	if o.multiplicative {
		return max(1e-20, min(1e20, season))
	}
	return season
}

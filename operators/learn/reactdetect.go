package learn

import (
	"github.com/gradstream/gradstream/operators/drift/detect"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// reactConfig names the detector. Those of the operators that need errors, ddm and
// eddm, and kswin, which does not tell a rise from a fall, are not among them.
type reactConfig struct{ detector spec.Choice }

func (c *reactConfig) Fields(f *spec.Fields) {
	f.Choice(&c.detector, "detector", "adwin", []spec.Option{
		{Name: "adwin", Summary: "A window that adapts to change; starts over after a drift.", New: func() spec.Config { return new(adwinConfig) }},
		{Name: "hddm_a", Summary: "Hoeffding's bound on means.", New: func() spec.Config { return new(hddmAConfig) }},
		{Name: "hddm_w", Summary: "McDiarmid's bound on fading means: quick on large rises, blind to small ones.", New: func() spec.Config { return new(hddmWConfig) }},
		{Name: "page_hinkley", Summary: "A cumulative sum, above its lowest point.", New: func() spec.Config { return new(pageHinkleyConfig) }},
		{Name: "cusum", Summary: "A cumulative sum that never falls below zero.", New: func() spec.Config { return new(cusumConfig) }},
	}, "What says that the loss has risen.")
}

// detectorConfig is the configuration of an option of `detector`.
type detectorConfig interface {
	spec.Config
	detector() (detect.Detector, error)
}

type adwinConfig struct {
	delta                 float64
	clock, grace, minPart int
}

func (c *adwinConfig) Fields(f *spec.Fields) {
	o := detect.DefaultADWIN()
	f.Float(&c.delta, "delta", o.Delta, "Chance of a false alarm the bound is built for. Smaller is slower and surer.").Above(0).Below(1)
	f.Int(&c.clock, "clock", o.Clock, "Rows from one search for a change to the next.").Within(1, 1_000_000)
	f.Int(&c.grace, "grace", o.Grace, "Length of the window up to which no search is made.").Within(0, 1_000_000_000)
	f.Int(&c.minPart, "min_part", o.MinPart, "Least number of rows on each side of a change.").Within(1, 1_000_000)
}

func (c *adwinConfig) detector() (detect.Detector, error) {
	return detect.NewADWIN(detect.ADWINOptions{Delta: c.delta, Clock: c.clock, Grace: c.grace, MinPart: c.minPart, Direction: detect.Up, After: detect.Reset})
}

type hddmAConfig struct{ drift float64 }

func (c *hddmAConfig) Fields(f *spec.Fields) {
	f.Float(&c.drift, "drift", detect.DefaultHDDM().Drift, "Chance of a false alarm the bound is built for. Smaller is slower and surer.").Above(0).Below(1)
}

func (c *hddmAConfig) options() detect.HDDMOptions {
	o := detect.DefaultHDDM()
	o.Drift, o.Warning = c.drift, max(c.drift, o.Warning)
	return o
}

func (c *hddmAConfig) detector() (detect.Detector, error) { return detect.NewHDDMA(c.options()) }

type hddmWConfig struct {
	hddmAConfig
	lambda float64
}

func (c *hddmWConfig) Fields(f *spec.Fields) {
	c.hddmAConfig.Fields(f)
	f.Float(&c.lambda, "lambda", detect.DefaultHDDM().Lambda, "Weight of the newest row in the mean.").Above(0).Below(1)
}

func (c *hddmWConfig) detector() (detect.Detector, error) {
	o := c.options()
	o.Lambda = c.lambda
	return detect.NewHDDMW(o)
}

type cusumConfig struct {
	delta, threshold float64
	minSamples       int
}

func (c *cusumConfig) Fields(f *spec.Fields) {
	o := detect.DefaultCUSUM()
	f.Float(&c.delta, "delta", o.Delta, "Rise of the mean that is tolerated.").Within(0, 1e9)
	f.Float(&c.threshold, "threshold", o.Threshold, "Height of the sum that is a drift.").Above(0).AtMost(1e12)
	f.Int(&c.minSamples, "min_samples", o.MinSamples, "Rows that must have passed before anything is a drift.").Within(1, 1_000_000_000)
}

func (c *cusumConfig) detector() (detect.Detector, error) {
	return detect.NewCUSUM(detect.CUSUMOptions{Delta: c.delta, Threshold: c.threshold, MinSamples: c.minSamples, Direction: detect.Up})
}

type pageHinkleyConfig struct {
	cusumConfig
	alpha    float64
	baseline string
}

func (c *pageHinkleyConfig) Fields(f *spec.Fields) {
	o := detect.DefaultPageHinkley()
	c.cusumConfig.Fields(f)
	f.Float(&c.alpha, "alpha", o.Alpha, "Factor by which the sum forgets at each row; 1 = never.").Above(0).AtMost(1)
	f.Enum(&c.baseline, "baseline", string(o.Baseline), []string{string(detect.Extreme), string(detect.Zero)},
		"What the sum is compared with: extreme = the lowest value it has had, zero = zero, which is later, with fewer false alarms.")
}

func (c *pageHinkleyConfig) detector() (detect.Detector, error) {
	return detect.NewPageHinkley(detect.PageHinkleyOptions{Delta: c.delta, Threshold: c.threshold, Alpha: c.alpha, MinSamples: c.minSamples,
		Direction: detect.Up, Baseline: detect.Baseline(c.baseline)})
}

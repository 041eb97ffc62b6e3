package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"image/color"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// streams is the part of the file of bench/quality that is drawn.
type streams struct {
	Streams []struct {
		Name    string
		Task    string
		Rows    int
		Changes []int
		Drifts  []int
		Systems []struct {
			System string
			Curve  []float64
		}
	}
}

// quality draws the loss of each stream over its rows, a picture a stream: thin upright lines where the concept is known to
// change, triangles where gradstream's detector fired.
func quality(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	var r streams
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	if len(r.Streams) == 0 {
		return fmt.Errorf("%s: nothing to draw in it", from)
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	var failed []error
	for _, s := range r.Streams {
		p := plot.New()
		p.Title.Text, p.X.Label.Text = s.Name, "row"
		p.Y.Label.Text = map[bool]string{true: "mean absolute error", false: "log loss"}[s.Task == "number"]
		p.Y.Min, p.X.Min, p.X.Max = 0, 0, float64(s.Rows)
		p.Legend.Top = true
		p.Add(plotter.NewGrid())
		for i, system := range s.Systems {
			if len(system.Curve) == 0 {
				continue
			}
			points := make(plotter.XYs, len(system.Curve))
			for j, y := range system.Curve {
				points[j] = plotter.XY{X: (float64(j) + 0.5) * float64(s.Rows) / float64(len(points)), Y: y}
			}
			line, err := plotter.NewLine(points)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", s.Name, system.System, err)
			}
			line.Color, line.Width = lines[min(i, len(lines)-1)], vg.Points(1.5)
			p.Add(line)
			p.Legend.Add(system.System, line)
		}
		p.Y.Max *= 1.2 // room for the legend
		mark(p, s.Changes, s.Drifts)
		failed = append(failed, p.Save(9*vg.Inch, 4*vg.Inch, filepath.Join(to, s.Name+".png")))
	}
	return errors.Join(failed...)
}

// lines are the colours of the baseline, of gradstream and of the rival.
var lines = []color.Color{color.Gray{0xb0}, color.RGBA{0x1f, 0x5f, 0x9e, 0xff}, color.RGBA{0xd9, 0x8a, 0x3d, 0xff}}

func mark(p *plot.Plot, changes, drifts []int) {
	for _, at := range changes {
		line, _ := plotter.NewLine(plotter.XYs{{X: float64(at), Y: p.Y.Min}, {X: float64(at), Y: p.Y.Max}}) // finite, and so no error
		line.Color, line.Dashes = color.Black, []vg.Length{vg.Points(3), vg.Points(3)}
		p.Add(line)
	}
	points := make(plotter.XYs, len(drifts))
	for i, at := range drifts {
		points[i] = plotter.XY{X: float64(at), Y: p.Y.Min}
	}
	if len(points) == 0 {
		return
	}
	marks, _ := plotter.NewScatter(points)
	marks.Shape, marks.Radius, marks.Color = draw.TriangleGlyph{}, vg.Points(4), color.RGBA{0xc0, 0x20, 0x20, 0xff}
	p.Add(marks)
	p.Legend.Add("drift found", marks)
}

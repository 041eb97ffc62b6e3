package main

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// What the label of a stream is.
const (
	binary  = "binary"  // 0 or 1
	classes = "classes" // one of some names
	number  = "number"
)

// stream is what is known of a file of rows before anything learns from it: which column is what. The label is the column
// y, and what is named nowhere is a number.
type stream struct {
	name, task   string
	categorical  []string
	text, sparse string // a column, or none
	changes      []int  // rows at which the concept is known to change
	made         bool   // by peers/python/streams.py, not in the folder of files; nobody looked at it when defaults were chosen
}

var streams = []stream{
	{name: "elec2", task: binary},
	{name: "airlines22y", task: binary, categorical: []string{"DayOfWeek", "UniqueCarrier", "Origin", "Dest"}},
	{name: "nyc_flights", task: binary, categorical: []string{"carrier", "origin", "dest"}},
	{name: "phishing", task: binary},
	{name: "bananas", task: binary},
	{name: "shuttle", task: binary},
	{name: "obd_clicks", task: binary, categorical: []string{"policy", "campaign", "item", "position", "uf0", "uf1", "uf2", "uf3"}},
	{name: "rcv1_small", task: binary, sparse: "x"},
	{name: "sms_spam", task: binary, text: "text"},
	{name: "synth_sea_abrupt", task: binary, changes: []int{10000, 20000, 30000}},
	{name: "synth_agrawal_abrupt", task: binary, categorical: []string{"elevel", "car", "zipcode"}, changes: []int{10000, 20000}},
	{name: "synth_hyperplane", task: binary},
	{name: "covtype20k", task: classes},
	{name: "image_segments", task: classes},
	{name: "synth_rbf_drift", task: classes},
	{name: "trump_approval", task: number},
	{name: "chick_weights", task: number},
	{name: "nyc_weather", task: number, categorical: []string{"origin"}},

	{name: "breast_cancer", task: binary, made: true},
	{name: "sine_abrupt", task: binary, made: true, changes: []int{5000, 10000, 15000}},
	{name: "mixed_gradual", task: binary, made: true, changes: []int{10000}},
	{name: "digits", task: classes, made: true},
	{name: "waveform", task: classes, made: true},
	{name: "led_drift", task: classes, made: true, changes: []int{5000, 10000, 15000}},
	{name: "diabetes", task: number, made: true},
	{name: "solar_flare", task: number, made: true, categorical: []string{"zurich-class", "largest-spot-size", "spot-distribution"}},
	{name: "friedman_drift", task: number, made: true, changes: []int{7000, 14000}},
	{name: "mv", task: number, made: true, categorical: []string{"3", "7", "8"}},
}

// table is a stream with what its file says.
type table struct {
	stream
	file    string
	names   []string // of all columns, in order
	missing []bool   // by column: a cell is empty
	classes []string // sorted, if the labels are classes
	labels  []float64
}

// numeric returns the columns that are numbers.
func (t *table) numeric() (names []string) {
	for _, name := range t.names {
		if name != "y" && name != t.text && name != t.sparse && !slices.Contains(t.categorical, name) {
			names = append(names, name)
		}
	}
	return names
}

// open reads a file, all of it or its first rows, of which it then makes a file in the folder.
func (s stream) open(path, folder string, first int) (*table, error) {
	t, part, err := s.read(path, first)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if first == 0 {
		return t, nil
	}
	t.file = filepath.Join(folder, fmt.Sprintf("%s-%d.csv.gz", s.name, first))
	return t, os.WriteFile(t.file, part, 0o644)
}

// read returns the table and, if only the first rows are wanted, a file of them.
func (s stream) read(path string, first int) (*table, []byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	unpacked, err := gzip.NewReader(f)
	if err != nil {
		return nil, nil, err
	}
	t := &table{stream: s, file: path}
	r := csv.NewReader(unpacked)
	r.ReuseRecord = true
	header, err := r.Read()
	if err != nil {
		return nil, nil, fmt.Errorf("it has no header: %w", err)
	}
	t.names, t.missing = slices.Clone(header), make([]bool, len(header))
	for _, name := range append(slices.Clone(t.categorical), "y", t.text, t.sparse) {
		if name != "" && !slices.Contains(t.names, name) {
			return nil, nil, fmt.Errorf("it has no column %q", name)
		}
	}
	var part bytes.Buffer
	packed := gzip.NewWriter(&part)
	w := csv.NewWriter(packed)
	w.Write(header)
	label, place := slices.Index(t.names, "y"), map[string]int{}
	var texts []string
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) || err == nil && first > 0 && len(texts) == first {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		for i, cell := range row {
			t.missing[i] = t.missing[i] || cell == ""
		}
		texts = append(texts, row[label])
		place[row[label]] = 0
		w.Write(row)
	}
	w.Flush()
	if err := errors.Join(w.Error(), packed.Close()); err != nil {
		return nil, nil, err
	}
	if s.task == classes {
		t.classes = slices.Sorted(maps.Keys(place))
		for i, name := range t.classes {
			place[name] = i
		}
	}
	for i, text := range texts {
		y := float64(place[text])
		if s.task != classes {
			if y, err = strconv.ParseFloat(text, 64); err != nil || math.IsInf(y, 0) || math.IsNaN(y) || s.task == binary && y != 0 && y != 1 {
				return nil, nil, fmt.Errorf("row %d: the label %q is not what the stream's labels are: %s", i, text, s.task)
			}
		}
		t.labels = append(t.labels, y)
	}
	if len(t.labels) == 0 {
		return nil, nil, errors.New("it has no rows")
	}
	return t, part.Bytes(), nil
}

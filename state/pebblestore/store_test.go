package pebblestore_test

import (
	"testing"

	"github.com/gradstream/gradstream/state/pebblestore"
	"github.com/gradstream/gradstream/state/statetest"
)

func TestConformance(t *testing.T) {
	statetest.Run(t, func(t *testing.T) func() statetest.Store {
		dir := t.TempDir()
		return func() statetest.Store {
			s, err := pebblestore.Open(dir, pebblestore.Options{Pipeline: "test"})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	})
}

package memstore_test

import (
	"testing"

	"github.com/gradstream/gradstream/state/memstore"
	"github.com/gradstream/gradstream/state/statetest"
)

func TestConformance(t *testing.T) {
	statetest.Run(t, func(*testing.T) func() statetest.Store {
		s := memstore.New()
		return func() statetest.Store { return s }
	})
}

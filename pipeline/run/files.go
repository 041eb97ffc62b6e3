package run

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/state"
)

// openFiles lists the files that the stage's operators have taken up.
func (g *stage) openFiles() (files []openFile) {
	for _, n := range g.p.Nodes {
		if f := n.File(); f != nil {
			o := openFile{Node: n.Name}
			_, _ = hex.Decode(o.Digest[:], []byte(f.Digest)) // made by hex
			files = append(files, o)
		}
	}
	return files
}

// otherFile says which file of an operator is not the one of an open record; "" = none.
func (g *stage) otherFile(was []openFile) string {
	for _, now := range g.openFiles() {
		i := slices.IndexFunc(was, func(f openFile) bool { return f.Node == now.Node })
		if i >= 0 && was[i].Digest != now.Digest {
			n := g.p.Nodes[slices.IndexFunc(g.p.Nodes, func(n *pipeline.Node) bool { return n.Name == now.Node })]
			return fmt.Sprintf("the file %s of operator %q holds something else: its SHA-256 was %x and is %x", n.File().Path, n.Name, was[i].Digest, now.Digest)
		}
	}
	return ""
}

// named puts before the error of state that was made with another file the path of
// the file.
func (c *core) named(err error) error {
	var mismatch *state.MismatchError
	if !errors.As(err, &mismatch) || mismatch.Have.Version != mismatch.Want.Version {
		return err
	}
	for _, n := range c.p.Nodes {
		if f := n.File(); f != nil && n.Name == mismatch.Want.Node && !strings.Contains(mismatch.Have.Pinned, f.Digest) {
			return fmt.Errorf("the file %s holds something else than when the state was made, by its SHA-256: %w", f.Path, err)
		}
	}
	return err
}

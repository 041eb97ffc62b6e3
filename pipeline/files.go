package pipeline

import (
	"os"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// readFile lets an operator take up the file that its configuration names, and
// complains of what is wrong with it; false if anything is.
func (l *loader) readFile(op *operator) bool {
	reader, ok := op.config.(operators.FileReader)
	if !ok {
		return true
	}
	f := reader.File()
	if f.Path == "" {
		return false // complained of
	}
	const want = "expected a file that can be read"
	switch info, err := os.Stat(f.Path); { // before it is opened: a pipe would wait for its writer
	case err != nil:
	case info.IsDir():
		l.errorf(f.Pos, want, "%s is a folder", f.Path)
		return false
	case !info.Mode().IsRegular():
		l.errorf(f.Pos, want, "%s is no regular file: its content must be the same whenever it is read", f.Path)
		return false
	}
	file, err := os.Open(f.Path)
	if err != nil {
		l.errorf(f.Pos, want, "%v", fileError(f.Path, err))
		return false
	}
	defer file.Close()
	errs := f.Read(file, reader.ReadFile)
	l.errs = append(l.errs, errs...)
	return len(errs) == 0
}

// File is the file that the node's operator has taken up; nil = none.
func (n *Node) File() *spec.File {
	if reader, ok := n.Config.(operators.FileReader); ok {
		return reader.File()
	}
	return nil
}

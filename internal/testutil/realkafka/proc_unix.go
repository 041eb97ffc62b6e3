//go:build unix

package realkafka

import (
	"os"
	"syscall"
)

var (
	sigPause  os.Signal = syscall.SIGSTOP
	sigResume os.Signal = syscall.SIGCONT
	sigStop   os.Signal = syscall.SIGTERM
)

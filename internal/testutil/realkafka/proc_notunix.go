//go:build !unix

package realkafka

import "os"

// Without signals a stop is a kill, and a pause is refused by the system's error.
var (
	sigPause  os.Signal = os.Interrupt
	sigResume os.Signal = os.Interrupt
	sigStop             = os.Kill
)

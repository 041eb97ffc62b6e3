//go:build !linux

package realkafka

import (
	"errors"
	"syscall"
	"time"
)

func dieWithParent() *syscall.SysProcAttr { return nil }

func cpuTime(pid int) (time.Duration, error) { return 0, errors.ErrUnsupported }

func residentBytes(pid int) (int64, error) { return 0, errors.ErrUnsupported }

package kafka

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// lockFile takes the lock that a file stands for, for as long as this process
// lives, and writes into a file beside it who holds it. That file goes when the
// lock is given back in order, so that left tells that the last holder was not able
// to.
func lockFile(name string) (unlock func(inOrder bool), left bool, err error) {
	f, held, err := openLocked(name)
	who := name + ".by"
	if err != nil {
		return nil, false, err
	}
	if held {
		by, _ := os.ReadFile(who)
		return nil, false, fmt.Errorf("in use by another process%s; stop it, or use another folder", strings.TrimRight(" "+string(by), " \n"))
	}
	_, err = os.Stat(who)
	left = err == nil
	host, _ := os.Hostname()
	note := fmt.Sprintf("(process %d on %s since %s)\n", os.Getpid(), host, time.Now().Format(time.DateTime))
	if err := os.WriteFile(who, []byte(note), 0o644); err != nil {
		f.Close()
		return nil, false, err
	}
	return func(inOrder bool) {
		if inOrder {
			os.Remove(who)
		}
		f.Close()
	}, left, nil
}

package run

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// quota counts the quarantines of the last hour, those of earlier processes on the
// same folder included: a process that is started again after it has failed for
// too many must not have as many again.
type quota struct {
	mu   sync.Mutex
	path string      // of the file that lists them; empty = none
	read bool        // the file was read
	at   []time.Time // ascending
}

// take counts one more and reports whether it is among the most.
func (q *quota) take(now time.Time, most int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.read && q.path != "" {
		b, _ := os.ReadFile(q.path) // without it counting begins anew
		for word := range strings.FieldsSeq(string(b)) {
			if ms, err := strconv.ParseInt(word, 10, 64); err == nil {
				q.at = append(q.at, time.UnixMilli(ms))
			}
		}
		q.read = true
	}
	q.at = slices.DeleteFunc(q.at, func(t time.Time) bool { return now.Sub(t) >= time.Hour })
	if len(q.at) >= most {
		return false
	}
	q.at = append(q.at, now)
	if q.path != "" {
		var b []byte
		for _, t := range q.at {
			b = append(strconv.AppendInt(b, t.UnixMilli(), 10), '\n')
		}
		if err := os.MkdirAll(filepath.Dir(q.path), 0o755); err == nil {
			_ = os.WriteFile(q.path, b, 0o644) // likewise
		}
	}
	return true
}

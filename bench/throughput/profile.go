package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// profileListen is where the profiled process serves HTTP.
const profileListen = "127.0.0.1:18089"

// takeProfile runs gradstream over the backlog with a processor profile and
// prints where the time went.
func (h *harness) takeProfile(ctx context.Context) error {
	if err := os.MkdirAll(h.profile, 0o755); err != nil {
		return err
	}
	r, err := h.backlog(ctx, "standard", 0, true)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	say("profiled  %s", r)
	for _, by := range []string{"-flat", "-cum"} {
		out, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", by, "-nodecount=25", h.binary, h.profileFile()).Output()
		if err != nil {
			return fmt.Errorf("go tool pprof: %w", err)
		}
		fmt.Printf("%s\n", out)
	}
	return nil
}

func (h *harness) profileFile() string { return filepath.Join(h.profile, "gradstream.prof") }

// fetchProfile waits for the process's first record and profiles it for most of
// the backlog.
func (h *harness) fetchProfile(ctx context.Context, p *process) error {
	select {
	case <-p.live:
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return ctx.Err()
	}
	seconds := max(1, h.events/1_000_000)
	return errors.Join(
		h.download(ctx, fmt.Sprintf("debug/pprof/profile?seconds=%d", seconds), h.profileFile()),
		h.download(ctx, "debug/pprof/allocs", filepath.Join(h.profile, "allocs.prof")))
}

// download saves what the profiled process serves.
func (h *harness) download(ctx context.Context, path, file string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+profileListen+"/"+path, nil)
	if err != nil {
		return err
	}
	client := http.Client{Timeout: 3 * time.Minute}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("/%s: %s", path, resp.Status)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, resp.Body); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

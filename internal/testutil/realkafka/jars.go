package realkafka

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"

	"github.com/rogpeppe/go-internal/lockedfile"
)

// ErrUnavailable is wrapped by the errors that say this machine lacks what a real Kafka needs: java or mvn.
var ErrUnavailable = errors.New("needs java and mvn")

//go:embed pom.xml
var pom []byte

// Version returns the version of Kafka that is run, as pom.xml pins it.
func Version() string { return version() }

var version = sync.OnceValue(func() string {
	var project struct {
		Version string `xml:"properties>kafka.version"`
	}
	if err := xml.Unmarshal(pom, &project); err != nil {
		panic("realkafka: pom.xml: " + err.Error())
	}
	return project.Version
})

// Jars returns the folder that holds Kafka's jars, copying them there with Maven if they are not there yet. Processes
// that ask at the same time wait for one of them. The error wraps [ErrUnavailable] if mvn is needed and missing.
func Jars(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no folder to keep Kafka's jars in: %w", err)
	}
	return jarsIn(ctx, cache)
}

// jarsIn is Jars for a given user cache folder.
func jarsIn(ctx context.Context, cache string) (string, error) {
	base := filepath.Join(cache, "gradstream", "kafka-"+Version())
	sum := sha256.Sum256(pom)
	dir := filepath.Join(base, fmt.Sprintf("%x", sum[:6]))
	if isDir(dir) {
		return dir, nil
	}
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", err
	}
	unlock, err := lockedfile.MutexAt(filepath.Join(base, "lock")).Lock()
	if err != nil {
		return "", fmt.Errorf("lock Kafka's jars: %w", err)
	}
	defer unlock()
	if isDir(dir) { // another process was quicker
		return dir, nil
	}
	work, err := os.MkdirTemp(base, "copy-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	pomFile, lib := filepath.Join(work, "pom.xml"), filepath.Join(work, "lib")
	if err := os.WriteFile(pomFile, pom, 0o644); err != nil {
		return "", err
	}
	// --strict-checksums: a jar that does not match its published checksum fails the copy.
	cmd := exec.CommandContext(ctx, mvn, "-q", "-B", "--strict-checksums", "-f", pomFile,
		"dependency:copy-dependencies", "-DoutputDirectory="+lib)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("mvn dependency:copy-dependencies: %w\n%s", err, tail(out, 4000))
	}
	if err := os.Rename(lib, dir); err != nil {
		return "", fmt.Errorf("put Kafka's jars in place: %w", err)
	}
	return dir, nil
}

// minJava is the oldest Java that this Kafka's broker runs on.
const minJava = 17

// java returns the path of a Java that can run Kafka. It asks that Java once a process.
var java = sync.OnceValues(func() (string, error) {
	path, err := exec.LookPath("java")
	if home := os.Getenv("JAVA_HOME"); home != "" {
		if p, homeErr := exec.LookPath(filepath.Join(home, "bin", "java")); homeErr == nil {
			path, err = p, nil
		}
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	out, err := exec.Command(path, "-version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s -version: %w", ErrUnavailable, path, err)
	}
	if major, ok := javaMajor(out); ok && major < minJava {
		return "", fmt.Errorf("%w: %s is Java %d, Kafka %s needs %d", ErrUnavailable, path, major, Version(), minJava)
	}
	return path, nil
})

var javaVersion = regexp.MustCompile(`version "(?:1\.)?(\d+)`)

// javaMajor finds the major version in what `java -version` prints: 8 in "1.8.0_392", 17 in "17.0.15".
func javaMajor(out []byte) (major int, ok bool) {
	m := javaVersion.FindSubmatch(out)
	if m == nil {
		return 0, false
	}
	major, err := strconv.Atoi(string(m[1]))
	return major, err == nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// tail returns the last n bytes of b at most, from the beginning of a line.
func tail(b []byte, n int) []byte {
	if len(b) <= n {
		return b
	}
	b = b[len(b)-n:]
	if i := bytes.IndexByte(b, '\n'); i >= 0 && i+1 < len(b) {
		b = b[i+1:]
	}
	return b
}

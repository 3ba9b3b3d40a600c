package pgspooltest

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// FillDisk fills the disk of a server that has one of its own, see DiskBytes:
// from then on it can write only where it has room already, and may end. What
// is returned makes room again; then Restart a server that has ended.
func (s *Server) FillDisk(t testing.TB) (restore func()) {
	t.Helper()
	if s.disk == 0 {
		t.Fatal("pgspooltest: the server has no disk of its own")
	}
	name := filepath.Join(filepath.Dir(s.data), "filler")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(f, zeros{}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("pgspooltest: the disk does not fill: %v", err)
	}
	return func() {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	}
}

// Running reports whether the server runs: one without room may have ended.
func (s *Server) Running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return false
	}
	select {
	case <-s.proc.done:
		return false
	default:
		return true
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

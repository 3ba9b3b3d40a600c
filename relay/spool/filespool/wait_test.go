package filespool_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

// holder is a process that has a directory open.
type holder struct {
	*exec.Cmd
	drain io.Closer
}

// startHolder returns when the process has stored a message.
func startHolder(t *testing.T, dir string) *holder {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^TestHolder$")
	c.Env = append(os.Environ(), "FILESPOOL_HOLD_DIR="+dir)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "held\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return &holder{c, in}
}

// TestHolder is the process: it stores a message, and another one when it is
// told to drain.
func TestHolder(t *testing.T) {
	dir := os.Getenv("FILESPOOL_HOLD_DIR")
	if dir == "" {
		return
	}
	s, err := filespool.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, spool.NewID(time.Now()), []byte("first"), deliveries("a", time.Now()))
	fmt.Println("held")
	io.Copy(io.Discard, os.Stdin)
	put(t, s, spool.NewID(time.Now()), []byte("last"), deliveries("a", time.Now()))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// waitingOpen opens a directory in the background.
func waitingOpen(dir string) <-chan *filespool.Store {
	opened := make(chan *filespool.Store, 1)
	go func() {
		s, err := filespool.Open(dir, &filespool.Options{Wait: time.Minute})
		if err != nil {
			fmt.Println(err)
		}
		opened <- s
	}()
	return opened
}

func wantMessages(t *testing.T, s *filespool.Store, want int64) {
	t.Helper()
	if s == nil {
		t.Fatal("not opened")
	}
	defer s.Close()
	if st, err := s.Stats(t.Context()); err != nil || st.Messages != want {
		t.Errorf("%d messages, %v, want %d", st.Messages, err, want)
	}
}

// TestHandOver starts a new process while the old one drains: it opens the
// directory when the old one has closed it, and finds all there is.
func TestHandOver(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := startHolder(t, dir)
	if _, err := filespool.Open(dir, nil); !errors.Is(err, filespool.ErrLocked) {
		t.Fatalf("without Wait: %v", err)
	}
	opened := waitingOpen(dir)
	select {
	case <-opened:
		t.Fatal("opened while another process has it")
	case <-time.After(100 * time.Millisecond):
	}
	h.drain.Close()
	s := <-opened
	if err := h.Wait(); err != nil {
		t.Fatal(err)
	}
	wantMessages(t, s, 2)
}

// TestHandOverKilled has the old process die.
func TestHandOverKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := startHolder(t, dir)
	opened := waitingOpen(dir)
	h.Process.Kill()
	h.Wait()
	wantMessages(t, <-opened, 1)
}

func TestWaitEnds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open(t, dir, nil)
	began := time.Now()
	_, err := filespool.Open(dir, &filespool.Options{Wait: 50 * time.Millisecond})
	if !errors.Is(err, filespool.ErrLocked) || time.Since(began) < 50*time.Millisecond {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	if _, err := filespool.Open(t.TempDir(), &filespool.Options{Wait: -1}); err == nil {
		t.Error("a negative Wait is taken")
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "spool")
	s := open(t, dir, nil)
	if _, err := filespool.Open(dir, nil); !errors.Is(err, filespool.ErrLocked) {
		t.Fatalf("error is %v, want ErrLocked", err)
	}
	s.Close()
	open(t, dir, nil)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

package pgspooltest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// quit is what PostgreSQL and pgbouncer take for "at once".
const quit = syscall.SIGQUIT

// programs are those of a PostgreSQL, and the user who runs them.
type programs struct {
	dir string // empty for PATH
	user
}

func findPrograms(dir string) (*programs, error) {
	u, err := unprivileged()
	if err != nil {
		return nil, err
	}
	if dir == "" {
		dir = newest()
	}
	if _, err := exec.LookPath(filepath.Join(dir, "initdb")); err != nil {
		return nil, fmt.Errorf("pgspooltest: PostgreSQL is not installed: %w", err)
	}
	return &programs{dir, u}, nil
}

// newest is where Debian has the programs of the newest PostgreSQL, or empty.
func newest() string {
	all, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(all) == 0 {
		return ""
	}
	version := func(dir string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
		return n
	}
	return slices.MaxFunc(all, func(a, b string) int { return version(a) - version(b) })
}

// command is a program of PostgreSQL, or another by its path.
func (p *programs) command(dir, name string, args ...string) *exec.Cmd {
	if !filepath.IsAbs(name) {
		name = filepath.Join(p.dir, name)
	}
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.SysProcAttr = dir, p.attributes()
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	return cmd
}

// run runs a program to its end.
func (p *programs) run(dir, name string, args ...string) error {
	cmd := p.command(dir, name, args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pgspooltest: %s: %w\n%s", name, err, out)
	}
	return nil
}

// process is a server that runs.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed at its end
}

// start starts a program that writes what it has to say to a file.
func (p *programs) start(dir, log, name string, args ...string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := p.command(dir, name, args...)
	cmd.Stdout, cmd.Stderr = out, out
	proc := &process{cmd, make(chan struct{})}
	started := make(chan error)
	go proc.watch(started)
	return proc, <-started
}

// watch starts the program and waits for its end in one thread: with that
// thread the program would end.
func (p *process) watch(started chan<- error) {
	lockThread()
	defer close(p.done)
	err := p.cmd.Start()
	started <- err
	if err == nil {
		_ = p.cmd.Wait()
	}
}

// end sends a signal, waits for the end, and reports whether the program ran
// until then.
func (p *process) end(sig os.Signal) bool {
	err := p.cmd.Process.Signal(sig)
	<-p.done
	return !errors.Is(err, os.ErrProcessDone)
}

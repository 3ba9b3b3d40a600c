package filespool

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
)

// OpenFS opens a store on a file system of the test.
func OpenFS(dir string, o *Options, d *Disk) (*Store, error) {
	d.mu.Lock()
	m := &mount{Disk: d, life: d.life}
	d.mu.Unlock()
	return openFS(dir, o, m)
}

// mount is a Disk as one life of the machine sees it.
type mount struct {
	*Disk
	life int
}

func (m *mount) gone() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.life != m.Disk.life
}

func (m *mount) OpenFile(name string, flag int) (file, error) {
	if m.gone() {
		return nil, errGone
	}
	return m.Disk.OpenFile(name, flag)
}

func (m *mount) Remove(name string) error {
	if m.gone() {
		return errGone
	}
	return m.Disk.Remove(name)
}

func (m *mount) Rename(from, to string) error {
	if m.gone() {
		return errGone
	}
	return m.Disk.Rename(from, to)
}

func (m *mount) SyncDir(name string) error {
	if m.gone() {
		return errGone
	}
	return m.Disk.SyncDir(name)
}

// Disk is a file system in memory that fails as it is told and forgets, on
// Crash, some of what was not synced. What is left to chance follows its seed.
// Several stores, one after the other, may be opened on it: see OpenFS.
type Disk struct {
	mu      sync.Mutex
	random  *rand.Rand
	life    int
	names   map[string]*inode
	durable map[string]*inode
	pending []func(map[string]*inode) // changes of names, in order
	breaks  func(op, name string) error
	ops     int // calls so far
	stopAt  int // the call that stops the machine; 0 is none
	stopped bool
	// FreeBytes is what Free tells; negative is unknown.
	FreeBytes int64
	// Capacity bounds the bytes of all files: a write beyond it fails with
	// ENOSPC. 0 is no bound.
	Capacity int64
	// Reads counts the bytes read of the log.
	Reads int64
	// Syncs counts syncs of files.
	Syncs int
}

type inode struct {
	data, synced []byte
	pending      []func([]byte) []byte
}

func NewDisk(seed uint64) *Disk {
	return &Disk{
		random: rand.New(rand.NewPCG(seed, 1)), FreeBytes: -1,
		names: map[string]*inode{}, durable: map[string]*inode{},
	}
}

// ErrAfter among the errors of Fault fails a write that has written everything.
var ErrAfter = errors.New("failed afterwards")

var errGone = errors.New("the machine has stopped")

// Crash stops the machine: open files are of no use any more, and the disk
// holds what was synced and some of the rest.
func (d *Disk) Crash() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.life++
	if n := len(d.pending); n > 0 {
		for _, f := range d.pending[:d.random.IntN(n+1)] {
			f(d.durable)
		}
	}
	d.pending = nil
	d.restart()
	d.names = map[string]*inode{}
	for name, n := range d.durable {
		d.names[name] = n
		for _, f := range n.pending {
			if d.random.IntN(2) == 0 {
				n.synced = f(n.synced)
			}
		}
		n.pending = nil
		n.data = slices.Clone(n.synced)
	}
}

// Kill ends the process: open files are of no use any more, and the disk holds
// what was written. What of it was not synced a later Crash may take.
func (d *Disk) Kill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.life++
	d.restart()
}

func (d *Disk) restart() { d.breaks, d.stopAt, d.stopped, d.ops = nil, 0, false, 0 }

// StopAt has the n-th call from now on, and every one after it, fail, until
// Crash or Kill. 0 takes that back.
func (d *Disk) StopAt(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ops, d.stopAt, d.stopped = 0, n, false
}

// Stopped tells whether StopAt has come true, and how many calls there were.
func (d *Disk) Stopped() (stopped bool, calls int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stopped, d.ops
}

// Chaos has one call in so many fail, with one of the errors.
func (d *Disk) Chaos(oneIn int, errs ...error) {
	d.Fault(func(string, string) error {
		if d.random.IntN(oneIn) > 0 {
			return nil
		}
		return errs[d.random.IntN(len(errs))]
	})
}

// used is the number of bytes that the files take up.
func (d *Disk) used() (n int64) {
	for _, f := range d.names {
		n += int64(len(f.data))
	}
	return n
}

// Fault sets what may return an error for an operation; a write that fails has
// written a part.
func (d *Disk) Fault(f func(op, name string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.breaks = f
}

func (d *Disk) fault(op, name string) error {
	if d.ops++; d.ops == d.stopAt {
		d.stopped = true
	}
	if d.stopped {
		return errGone
	}
	if d.breaks == nil {
		return nil
	}
	return d.breaks(op, filepath.Base(name))
}

func (d *Disk) rename(f func(map[string]*inode)) {
	f(d.names)
	d.pending = append(d.pending, f)
}

// Put writes a file that is durable.
func (d *Disk) Put(name string, b []byte) {
	n := &inode{data: slices.Clone(b), synced: slices.Clone(b)}
	d.names[name], d.durable[name] = n, n
}

package filespool

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	HeaderSize    = headerSize
	SegmentHeader = segmentHeader
	KindCommit    = kindCommit
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

// Decode reads a meta part in every way there is.
func Decode(meta []byte) {
	decodeCommit(meta)
	for _, kind := range []byte{kindCommit, kindSettle} {
		decodeUpdate(kind, meta, spool.ID{}, 0)
	}
	s := &Store{index: newIndex(), log: quiet()}
	g := &segment{number: 1}
	for _, kind := range []byte{kindCommit, kindSettle} {
		s.apply(g, &found{header: header{kind: kind, meta: uint32(len(meta))}, body: meta})
	}
}

// Seal makes a header and the sum of a meta part valid.
func Seal(segment []byte, at int, mark uint64, number uint32, seq uint64) {
	if at < 0 || at+headerSize > len(segment) {
		return
	}
	var h header
	h.parse(segment[at:])
	h.mark, h.segment, h.seq, h.version = mark, number, seq, version
	h.kind = h.kind%3 + 1
	h.meta %= 200
	h.content %= 200
	if end := at + headerSize + int(h.meta); end <= len(segment) {
		h.metaSum = sum(segment[at+headerSize : end])
	}
	h.put(segment[at:])
}

// SegmentFile returns the header of a segment and its mark.
func SegmentFile(number uint32) ([]byte, uint64) {
	s := &Store{mark: 0x1122334455667788}
	return s.segmentHeader(number, 0, false)[:segmentHeader], s.mark
}

// EncodeCommit makes the meta part of a record.
func EncodeCommit(m *spool.Message, ds []spool.Delivery, ss []spool.Settlement) []byte {
	return appendCommit(nil, m, nil, ds, ss)
}

// DecodeCommit reads the meta part of a record.
func DecodeCommit(meta []byte) (spool.Message, bool) {
	m, _, _, ok := decodeCommit(meta)
	return m, ok
}

// Disk is a file system in memory that fails as it is told and forgets, on
// Crash, some of what was not synced.
type Disk struct {
	mu      sync.Mutex
	random  *rand.Rand
	life    int
	names   map[string]*inode
	durable map[string]*inode
	pending []func(map[string]*inode) // changes of names, in order
	breaks  func(op, name string) error
	// FreeBytes is what is left.
	FreeBytes int64
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
	d.pending, d.breaks = nil, nil
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

// Fault sets what may return an error for an operation; a write that fails has
// written a part.
func (d *Disk) Fault(f func(op, name string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.breaks = f
}

func (d *Disk) fault(op, name string) error {
	if d.breaks == nil {
		return nil
	}
	return d.breaks(op, filepath.Base(name))
}

func (d *Disk) rename(f func(map[string]*inode)) {
	f(d.names)
	d.pending = append(d.pending, f)
}

type diskHandle struct {
	d    *Disk
	life int
	name string
	n    *inode
	at   int64
}

func (d *Disk) OpenFile(name string, flag int) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.fault("open", name); err != nil {
		return nil, err
	}
	n := d.names[name]
	switch {
	case n == nil && flag&os.O_CREATE == 0:
		return nil, fs.ErrNotExist
	case n != nil && flag&os.O_EXCL != 0:
		return nil, fs.ErrExist
	case n == nil:
		n = &inode{}
		d.rename(func(m map[string]*inode) { m[name] = n })
	}
	return &diskHandle{d: d, life: d.life, name: name, n: n}, nil
}

func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.fault("remove", name); err != nil {
		return err
	}
	if d.names[name] == nil {
		return fs.ErrNotExist
	}
	d.rename(func(m map[string]*inode) { delete(m, name) })
	return nil
}

func (d *Disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.fault("rename", from); err != nil {
		return err
	}
	n := d.names[from]
	if n == nil {
		return fs.ErrNotExist
	}
	d.rename(func(m map[string]*inode) {
		delete(m, from)
		m[to] = n
	})
	return nil
}

type entry struct {
	name string
	size int64
}

func (e entry) Name() string               { return e.name }
func (e entry) IsDir() bool                { return false }
func (e entry) Type() fs.FileMode          { return 0 }
func (e entry) Info() (fs.FileInfo, error) { return e, nil }
func (e entry) Size() int64                { return e.size }
func (e entry) Mode() fs.FileMode          { return 0o600 }
func (e entry) ModTime() time.Time         { return time.Time{} }
func (e entry) Sys() any                   { return nil }

func (d *Disk) ReadDir(name string) ([]fs.DirEntry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.fault("readdir", name); err != nil {
		return nil, err
	}
	var list []fs.DirEntry
	for p, n := range d.names {
		if filepath.Dir(p) == name {
			list = append(list, entry{filepath.Base(p), int64(len(n.data))})
		}
	}
	return list, nil
}

func (d *Disk) SyncDir(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.fault("opendir", name); err != nil {
		return untried(err)
	}
	if err := d.fault("syncdir", name); err != nil {
		return err
	}
	for _, f := range d.pending {
		f(d.durable)
	}
	d.pending = nil
	return nil
}

func (d *Disk) Free(string) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.FreeBytes
}

func (h *diskHandle) enter(op string) error {
	h.d.mu.Lock()
	if h.life != h.d.life {
		h.d.mu.Unlock()
		return errGone
	}
	if err := h.d.fault(op, h.name); err != nil && op != "write" {
		h.d.mu.Unlock()
		return err
	}
	return nil
}

func (h *diskHandle) ReadAt(p []byte, off int64) (int, error) {
	if err := h.enter("read"); err != nil {
		return 0, err
	}
	defer h.d.mu.Unlock()
	if off >= int64(len(h.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, h.n.data[off:])
	if strings.HasSuffix(h.name, segmentSuffix) {
		h.d.Reads += int64(n)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *diskHandle) Read(p []byte) (int, error) {
	n, err := h.ReadAt(p, h.at)
	h.at += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

func overlay(b []byte, p []byte, off int64) []byte {
	if end := off + int64(len(p)); int64(len(b)) < end {
		b = append(b, make([]byte, end-int64(len(b)))...)
	}
	copy(b[off:], p)
	return b
}

func (h *diskHandle) WriteAt(p []byte, off int64) (int, error) {
	if err := h.enter("write"); err != nil {
		return 0, err
	}
	defer h.d.mu.Unlock()
	err := h.d.fault("write", h.name)
	if err != nil && !errors.Is(err, ErrAfter) {
		p = p[:h.d.random.IntN(len(p)+1)]
	}
	h.n.data = overlay(h.n.data, p, off)
	// Sectors reach the disk each on its own.
	const sector = 512
	for i := 0; i < len(p); {
		n := min(len(p)-i, sector-int((off+int64(i))%sector))
		part, at := slices.Clone(p[i:i+n]), off+int64(i)
		h.n.pending = append(h.n.pending, func(b []byte) []byte { return overlay(b, part, at) })
		i += n
	}
	return len(p), err
}

func (h *diskHandle) Truncate(size int64) error {
	if err := h.enter("truncate"); err != nil {
		return err
	}
	defer h.d.mu.Unlock()
	f := func(b []byte) []byte {
		if int64(len(b)) > size {
			clear(b[size:])
			return b[:size]
		}
		return overlay(b, nil, size)
	}
	h.n.data = f(h.n.data)
	h.n.pending = append(h.n.pending, f)
	return nil
}

func (h *diskHandle) Sync() error {
	if err := h.enter("sync"); err != nil {
		return err
	}
	defer h.d.mu.Unlock()
	h.d.Syncs++
	h.n.synced, h.n.pending = slices.Clone(h.n.data), nil
	return nil
}

func (h *diskHandle) Size() (int64, error) {
	if err := h.enter("size"); err != nil {
		return 0, err
	}
	defer h.d.mu.Unlock()
	return int64(len(h.n.data)), nil
}

func (h *diskHandle) Close() error { return nil }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Quiet is a logger for tests that look for damage.
func Quiet() *slog.Logger { return quiet() }

// Live returns the bytes of records that count, and the number of segments.
func (s *Store) Live() (live int64, segments int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live, len(s.segments)
}

// Flush waits until what has gathered is written, and what is to be cleaned is
// clean.
func (s *Store) Flush() {
	s.mu.Lock()
	b := s.enqueue(&record{kind: kindSettle, meta: []byte{0}, done: func(loc, error) {}}, true)
	s.mu.Unlock()
	<-b.done
	for {
		s.mu.Lock()
		more := s.failed == nil &&
			(len(s.trash) > 0 || len(s.segments) > 1 && s.segments[0].live == 0 || s.sparse())
		s.mu.Unlock()
		if !more {
			return
		}
		s.wakeCleaner()
		runtime.Gosched()
	}
}

// SetVersion makes a record one of another version.
func SetVersion(segment []byte, at int, v byte) {
	var h header
	h.parse(segment[at:])
	h.version = v
	h.put(segment[at:])
}

// HoldCleaner keeps the log from being thinned, or no longer.
func (s *Store) HoldCleaner(hold bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanAfter = time.Time{}
	if hold {
		s.cleanAfter = time.Now().Add(time.Hour)
	}
}

// Put writes a file that is durable.
func (d *Disk) Put(name string, b []byte) {
	n := &inode{data: slices.Clone(b), synced: slices.Clone(b)}
	d.names[name], d.durable[name] = n, n
}

// Advance moves the store's clock.
func (s *Store) Advance(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = func() time.Time { return time.Now().Add(d) }
}

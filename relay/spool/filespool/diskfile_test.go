package filespool

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

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

type dirEntry struct {
	name string
	size int64
}

func (e dirEntry) Name() string { return e.name }

func (e dirEntry) IsDir() bool { return false }

func (e dirEntry) Type() fs.FileMode { return 0 }

func (e dirEntry) Info() (fs.FileInfo, error) { return e, nil }

func (e dirEntry) Size() int64 { return e.size }

func (e dirEntry) Mode() fs.FileMode { return 0o600 }

func (e dirEntry) ModTime() time.Time { return time.Time{} }

func (e dirEntry) Sys() any { return nil }

func (d *Disk) ReadDir(name string) ([]fs.DirEntry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.fault("readdir", name); err != nil {
		return nil, err
	}
	var list []fs.DirEntry
	for p, n := range d.names {
		if filepath.Dir(p) == name {
			list = append(list, dirEntry{filepath.Base(p), int64(len(n.data))})
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
	if op == "write" {
		return nil
	}
	if err := h.d.fault(op, h.name); err != nil {
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
	if len(p) == 0 {
		return 0, nil // as a file of the system answers, wherever that is
	}
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
	if more := off + int64(len(p)) - int64(len(h.n.data)); err == nil && more > 0 &&
		h.d.Capacity > 0 && h.d.used()+more > h.d.Capacity {
		err = syscall.ENOSPC
	}
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

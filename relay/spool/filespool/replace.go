package filespool

import (
	"encoding/binary"
	"io"
	"path/filepath"
)

// A small file is written as a whole: under another name first, which then
// takes the place of the old file. It ends with its checksum.

const (
	newSuffix     = ".new"
	maxSmallBytes = 64 << 20
)

// replaceFile makes b the durable content of a file of the directory.
func (s *Store) replaceFile(name string, b []byte) error {
	b = binary.LittleEndian.AppendUint32(b, sum(b))
	path := filepath.Join(s.dir, name)
	f, err := s.fs.OpenFile(path+newSuffix, openCreate)
	if err != nil {
		return full(err)
	}
	if err = writeFull(f, b, 0); err == nil {
		err = f.Truncate(int64(len(b)))
	}
	if err == nil {
		err = f.Sync()
	}
	// Windows renames no open file.
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = s.fs.Rename(path+newSuffix, path)
	}
	if err != nil {
		return full(err) // the old one is still there
	}
	if err := s.fs.SyncDir(s.dir); err != nil {
		return s.unsynced(err)
	}
	return nil
}

// readSmall reads what replaceFile wrote; nil if there is no file. One wrong
// byte is put right. What is damaged more is put aside, and said.
func (s *Store) readSmall(name string) ([]byte, error) {
	path := filepath.Join(s.dir, name)
	f, err := s.fs.OpenFile(path, openRead)
	if isGone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	b := make([]byte, min(max(size, 0), maxSmallBytes))
	if err == nil {
		var n int
		if n, err = f.ReadAt(b, 0); err == io.EOF {
			b, err = b[:n], nil
		}
	}
	f.Close()
	if err != nil {
		return nil, err
	}
	if n := len(b) - 4; n >= 0 && mendSealed(b) {
		return b[:n], nil
	}
	return nil, s.putAside(name, size)
}

// putAside renames a file that cannot be read.
func (s *Store) putAside(name string, size int64) error {
	s.damage(Damage{
		File: name, Bytes: size, What: "wrong checksum; renamed", Saved: name + savedSuffix,
	})
	path := filepath.Join(s.dir, name)
	return s.fs.Rename(path, path+savedSuffix)
}

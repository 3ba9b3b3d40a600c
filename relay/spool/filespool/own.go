package filespool

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/postern-mail/postern/relay/spool"
)

// matchFiles compares the messages' own files with the index.
func (s *Store) matchFiles() error {
	entries, err := s.fs.ReadDir(s.files)
	if err != nil {
		return err
	}
	sizes := make(map[spool.ID]int64, len(entries))
	for _, e := range entries {
		id, err := spool.ParseID(e.Name())
		if err != nil {
			continue
		}
		info, err := e.Info()
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return err
		}
		if info.Mode().IsRegular() {
			sizes[id] = info.Size()
		}
	}
	s.index.all(func(m *message) {
		if !m.own {
			return
		}
		n, ok := sizes[m.id]
		if !ok || n != m.ownSize() {
			s.damage(Damage{
				File: filepath.Join("files", m.id.String()), Bytes: n,
				What: "content of a message is missing or has another length",
			})
			s.spoiled[m.id] = struct{}{}
		}
		s.ownBytes += m.ownSize()
		delete(sizes, m.id)
	})
	// A file without a record was being written, or is of a finished message.
	// Where records were damaged it may be all that is left of one.
	lost := s.recovery.lost()
	for id, n := range sizes {
		if lost {
			s.damage(
				Damage{
					File: filepath.Join("files", id.String()), Bytes: n,
					What: "content without a record; left where it is",
				},
			)
			s.ownBytes += n
			continue
		}
		s.ownBytes += s.drop(id, n)
	}
	return nil
}

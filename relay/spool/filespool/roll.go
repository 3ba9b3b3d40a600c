package filespool

import "path/filepath"

// roll starts the next segment, in the file of a dead one if there is one. What
// fails for now is taken up again by the next call.
func (s *Store) roll() error {
	s.spareMu.Lock()
	defer s.spareMu.Unlock()
	// It is not known under which name the spare file is found after a failed
	// sync.
	if err := s.broken(); err != nil {
		return err
	}
	if s.next == nil {
		g, err := s.prepare()
		if err != nil {
			return err
		}
		s.next = g
	}
	g := s.next
	if err := s.fs.SyncDir(s.dir); err != nil {
		return s.unsynced(err)
	}
	f, err := s.fs.OpenFile(filepath.Join(s.dir, segmentName(g.number)), openWrite)
	if err != nil {
		return full(err)
	}
	g.file, s.next = f, nil
	s.mu.Lock()
	s.active = g
	s.segments = append(s.segments, g)
	s.byNumber[g.number] = g
	s.logBytes += g.size
	s.mu.Unlock()
	return nil
}

// prepare writes the header of the next segment and gives the file its name.
// From then on nothing may be added to the segment before.
func (s *Store) prepare() (*segment, error) {
	var number uint32 = 1
	var before int64
	if s.active != nil {
		number, before = s.active.number+1, s.active.end
	}
	// Until the name is durable, the file is still a segment after a crash.
	if s.unnamed {
		if err := s.fs.SyncDir(s.dir); err != nil {
			return nil, s.unsynced(err)
		}
		s.unnamed = false
	}
	m := s.marks()
	spare := filepath.Join(s.dir, spareName)
	f, err := s.fs.OpenFile(spare, openCreate)
	if err != nil {
		return nil, full(err)
	}
	size, err := f.Size()
	if err == nil {
		err = writeFull(f, s.segmentHeader(number, before, size > 0, m), 0)
	}
	if err != nil {
		f.Close()
		return nil, full(err)
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return nil, s.unsynced(err)
	}
	// Windows renames no open file.
	if err := f.Close(); err != nil {
		return nil, full(err)
	}
	if err := s.fs.Rename(spare, filepath.Join(s.dir, segmentName(number))); err != nil {
		return nil, full(err)
	}
	return &segment{
		number: number, end: segmentHeader, size: max(size, segmentHeader+headerSize), before: m,
	}, nil
}

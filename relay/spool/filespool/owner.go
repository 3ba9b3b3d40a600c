package filespool

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// checkOwner refuses a directory that others could change. It looks at what is
// in it as well, and not at the files of messages: theirs is one of its own.
func (s *Store) checkOwner() error {
	dir, err := os.Stat(s.dir)
	if err != nil {
		return err
	}
	infos := map[string]os.FileInfo{s.dir: dir}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(s.dir, e.Name())
		if !s.isOurs(e.Name()) {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() && !(info.IsDir() && name == s.files) {
			return fmt.Errorf("filespool: %s is %v", name, info.Mode().Type())
		}
		infos[name] = info
	}
	for name, info := range infos {
		group, err := check(name, info)
		if err != nil {
			return err
		}
		if group {
			s.log.Warn("filespool: its group may write to it", "file", name, "mode", info.Mode())
		}
	}
	return nil
}

// isOurs tells whether the store reads a file of its directory by that name.
func (s *Store) isOurs(name string) bool {
	switch name {
	case "lock", spareName, filepath.Base(s.files), consumersName, sharedName:
		return true
	}
	for _, suffix := range []string{segmentSuffix, s.events.suffix, s.claims.ledger.suffix} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

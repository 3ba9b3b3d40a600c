package main

import (
	"path/filepath"
	"strings"

	"github.com/postern-mail/postern/examples/internal/openspool"
)

// storage is where the queue is kept, and the file of the secret of SCRAM.
type storage struct {
	openspool.Place
	scramSecret string
}

// storage reads where the queue is kept. A database has its password in a file,
// in the environment (PGPASSWORD, PGPASSFILE), or in its URL.
func (l *loader) storage(path string, f *file) storage {
	if f.Spool == "" {
		l.require("spool", "a directory or a postgres:// URL for the queue is required")
		return storage{}
	}
	place, err := openspool.Parse(f.Spool)
	switch {
	case err != nil:
		l.add("spool", "%w", err)
		return storage{}
	case place.IsDatabase():
		return l.database(path, f, place)
	case f.SpoolPasswordFile != "":
		l.add("spool_password_file", "a directory has no password")
	}
	place, _ = openspool.Parse(l.path(place.Dir()))
	s := storage{place, filepath.Join(place.Dir(), secretName)}
	if f.ScramSecretFile != "" {
		s.scramSecret = l.path(f.ScramSecretFile)
	}
	return s
}

func (l *loader) database(path string, f *file, place openspool.Place) storage {
	if f.Scram && f.ScramSecretFile == "" {
		l.add("scram_secret_file", "is needed where the spool is no directory to keep it in")
	}
	switch name := f.SpoolPasswordFile; {
	case name != "" && place.HasPassword():
		l.add("spool_password_file", "the spool's URL has a password already")
	case name != "":
		password := l.secret("spool_password_file", name)
		place = place.WithPassword(strings.TrimRight(string(password), "\r\n"))
	case place.HasPassword():
		warnOfReaders(path, "spool", l.log)
	}
	return storage{place, l.path(f.ScramSecretFile)}
}

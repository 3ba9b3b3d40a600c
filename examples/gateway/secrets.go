package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime"

	"github.com/postern-mail/postern/auth"
)

const (
	secretName = "scram-secret" // in the directory of the spool, by default
	secretSize = 32             // octets
)

// keep gives the server the secret of the salts of unknown users, which stays
// the same over restarts in a file of its own. It does nothing where nobody
// logs on by SCRAM.
func (l *lasting) keep(name string, s *auth.Server, log *slog.Logger) {
	if s == nil || s.SCRAM == nil {
		return
	}
	if !l.kept {
		secret, err := readSecret(name)
		if err != nil {
			log.Error("the secret of SCRAM is another one after each start, which tells who is "+
				"no user",
				"err", err)
		} else {
			l.scramSecret, l.kept = secret, true
			warnOfReaders(name, secretName, log)
		}
	}
	s.SCRAMSecret = l.scramSecret
}

// readSecret returns the content of a file of random octets, which it makes if
// it is not there.
func readSecret(name string) ([]byte, error) {
	secret, err := os.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return makeSecret(name)
	case err == nil && len(secret) < secretSize:
		return nil, fmt.Errorf("%s is too short; remove it, and a new one is made", name)
	}
	return secret, err
}

// makeSecret writes a new file, which is there as a whole or not at all.
func makeSecret(name string) ([]byte, error) {
	secret := make([]byte, secretSize)
	rand.Read(secret) // never fails
	if err := replaceFile(name, string(secret)); err != nil {
		return nil, err
	}
	return secret, nil
}

// warnOfReaders tells the log of a file with a secret that everybody on the
// host may read or change.
func warnOfReaders(name, field string, log *slog.Logger) {
	const others = 0o006
	info, err := os.Stat(name)
	if err != nil || runtime.GOOS == "windows" || info.Mode().Perm()&others == 0 {
		return
	}
	log.Warn("everybody on this host may read or change a file with secrets; take that from "+
		"others (chmod o= FILE)",
		"field", field, "file", name, "mode", info.Mode().Perm())
}

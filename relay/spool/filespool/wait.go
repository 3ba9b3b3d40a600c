package filespool

import (
	"errors"
	"os"
	"time"
)

// lockEvery is how often Open looks whether the directory is free.
const lockEvery = 20 * time.Millisecond

// waitLock takes the lock of a directory, for which it waits if need be.
func waitLock(name string, wait time.Duration) (*os.File, error) {
	for end := time.Now().Add(wait); ; {
		f, err := lockFile(name)
		left := time.Until(end)
		if !errors.Is(err, ErrLocked) || left <= 0 {
			return f, err
		}
		time.Sleep(min(left, lockEvery))
	}
}

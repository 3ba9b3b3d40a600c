package dns

import (
	"os"
	"time"
)

// lookEvery is how often a file is looked at.
const lookEvery = 5 * time.Second

// watched tells whether a file has changed.
type watched struct {
	looked  time.Time
	changes time.Time // of the file
	size    int64
}

// changed returns the file open, if it is not as it was when it was read last,
// and nil otherwise. What cannot be read now stays as it was.
func (w *watched) changed(path string) *os.File {
	now := time.Now()
	if !w.looked.IsZero() && now.Sub(w.looked) < lookEvery {
		return nil
	}
	w.looked = now
	info, err := os.Stat(path)
	if err != nil || info.ModTime().Equal(w.changes) && info.Size() == w.size {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	w.changes, w.size = info.ModTime(), info.Size()
	return f
}

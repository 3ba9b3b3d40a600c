package domains

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern"
)

const (
	fileInterval  = time.Second     // between two looks at the file
	fileUnsettled = 2 * time.Second // a younger file may change again without a new time stamp
	maxFile       = 64 << 20        // octets
	maxLine       = 1024            // octets
	maxFaults     = 20              // reported for one file
)

// RecipientsFile is a Resolver of the recipients listed in a file, one entry a
// line as [StaticRecipients] takes them. Empty lines and lines that begin with
// # are skipped, and so is a byte order mark. A file of up to 64 MiB is read.
//
// It looks at the file at most once a second, during a call of Resolve, and
// reads it again when its time, size or identity has changed. Replace the file
// by renaming a complete one over it.
//
// While the file cannot be read or has a fault, the recipients read last still
// exist, and for all others Resolve returns an error: they may have been added
// since.
type RecipientsFile struct {
	path  string
	start time.Time
	next  atomic.Int64 // when to look again, as time since start
	state atomic.Pointer[fileState]

	mu        sync.Mutex // held while the file is read
	info      fs.FileInfo
	unsettled bool
}

type fileState struct {
	recipients
	err error
}

// OpenRecipients reads the file. The error holds every fault of the file,
// joined with [errors.Join], each a *[postern.FieldError] with the file's name
// and the line as its field; after 20 of them the rest is left out.
func OpenRecipients(path string) (*RecipientsFile, error) {
	r := &RecipientsFile{path: path, start: time.Now()}
	r.next.Store(int64(fileInterval))
	list, _, err := r.read()
	if err != nil {
		return nil, err
	}
	r.state.Store(&fileState{recipients: list})
	return r, nil
}

// Resolve implements [Resolver].
func (r *RecipientsFile) Resolve(_ context.Context, a Address) (bool, error) {
	if r == nil { // its error was not looked at
		return false, errors.New("domains: a RecipientsFile that was not opened")
	}
	r.refresh()
	s := r.state.Load()
	if s.has(a) {
		return true, nil
	}
	return false, s.err
}

// refresh reads the file if it is time to look at it and it has changed.
// Other calls go on with what was read last.
func (r *RecipientsFile) refresh() {
	now, next := int64(time.Since(r.start)), r.next.Load()
	if now < next || !r.next.CompareAndSwap(next, now+int64(fileInterval)) || !r.mu.TryLock() {
		return
	}
	defer r.mu.Unlock()
	switch list, changed, err := r.read(); {
	case err != nil:
		r.state.Store(&fileState{r.state.Load().recipients, err})
	case changed:
		r.state.Store(&fileState{recipients: list})
	}
}

// read returns the recipients of the file and whether it has been read: it is
// not when it is the file of the last call. A file with a fault is not read
// twice; one that could not be read is.
func (r *RecipientsFile) read() (list recipients, changed bool, err error) {
	old := r.info
	r.info = nil
	info, err := os.Stat(r.path)
	if err != nil {
		return list, false, fmt.Errorf("domains: recipients: %w", err)
	}
	if !info.Mode().IsRegular() { // opening a pipe would block
		return list, false, fmt.Errorf("domains: recipients: %s is no regular file", r.path)
	}
	if old != nil && !r.unsettled && os.SameFile(old, info) &&
		old.ModTime().Equal(info.ModTime()) && old.Size() == info.Size() {
		r.info = old
		return list, false, nil
	}
	age := time.Since(info.ModTime())
	data, err := readFile(r.path)
	if err != nil {
		return list, false, fmt.Errorf("domains: recipients: %w", err)
	}
	r.info, r.unsettled = info, -fileUnsettled < age && age < fileUnsettled
	if data, err = textOf(data); err != nil {
		return list, true, fmt.Errorf("domains: %s: %w", r.path, err)
	}
	list, err = parseRecipients(r.path, data)
	return list, true, err
}

// textOf returns the text of a file without the byte order mark that Windows
// puts in front. UTF-16, which Windows writes too, is refused.
func textOf(data []byte) ([]byte, error) {
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) ||
		bytes.IndexByte(data, 0) >= 0 {
		return nil, errors.New("no UTF-8 text, but UTF-16 or binary: save it as UTF-8")
	}
	return bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is larger than %d octets", path, maxFile)
	}
	return data, err
}

func parseRecipients(name string, data []byte) (recipients, error) {
	list := newRecipients()
	var faults []error
	n := 0
	for line := range bytes.Lines(data) {
		n++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		err := error(syntaxError("line too long"))
		if len(line) <= maxLine {
			err = list.add(string(line))
		}
		if err != nil {
			faults = append(
				faults, &postern.FieldError{Field: fmt.Sprintf("%s:%d", name, n), Err: err},
			)
		}
		if len(faults) == maxFaults {
			break
		}
	}
	return list, errors.Join(faults...)
}

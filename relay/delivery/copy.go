package delivery

import (
	"bufio"
	"bytes"
	"io"
	"strings"
)

// copyToMailbox writes a message without the fields that others wrote who took
// it for delivered. Neither its header nor a line of it has a limit here: the
// message was taken within those of its connector.
func copyToMailbox(w io.Writer, content io.Reader) error {
	r := bufio.NewReader(content)
	drop := false
	for {
		next, err := r.Peek(1)
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case next[0] == ' ' || next[0] == '\t': // the field goes on
		default:
			name, blank, err := fieldName(r)
			if err != nil {
				return err
			}
			if blank {
				_, err = io.Copy(w, r)
				return err
			}
			drop = strings.EqualFold(name, "Return-Path") || strings.EqualFold(name, "Delivered-To")
		}
		if err := copyLine(w, r, drop); err != nil {
			return err
		}
	}
}

// fieldName looks at the name of the field that begins here, or finds the blank
// line. White space may stand before its colon, and even a line end (RFC 5322
// section 4.5).
func fieldName(r *bufio.Reader) (name string, blank bool, err error) {
	line, err := r.Peek(r.Size())
	if err != nil && err != io.EOF {
		return "", false, err
	}
	if line[0] == '\n' || bytes.HasPrefix(line, []byte("\r\n")) {
		return "", true, nil
	}
	if i := bytes.IndexAny(line, ":\n"); i >= 0 {
		line = line[:i]
	}
	return string(bytes.TrimRight(line, " \t\r")), false, nil
}

// copyLine copies a line of any length, or drops it.
func copyLine(w io.Writer, r *bufio.Reader, drop bool) error {
	for {
		piece, err := r.ReadSlice('\n')
		if !drop {
			if _, err := w.Write(piece); err != nil {
				return err
			}
		}
		if err == nil || err == io.EOF {
			return nil
		}
		if err != bufio.ErrBufferFull {
			return err
		}
	}
}

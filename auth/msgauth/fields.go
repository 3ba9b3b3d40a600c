package msgauth

import (
	"bytes"
	"strings"
)

// signed are the fields that are signed. They follow RFC 6376 section 5.4.1,
// without those that relays and lists change as a matter of course.
//
// always: signed once more than present, also when absent. Nobody on the way
// has reason to add one. Others may be added by a mailing list, and are signed
// once more than present only when present.
func signedFields() [21]signedField {
	return [...]signedField{
		{name: "From", always: true},
		{name: "Reply-To", always: true},
		{name: "To", always: true},
		{name: "Cc", always: true},
		{name: "Subject", always: true},
		{name: "Date", always: true},
		{name: "Message-ID", always: true},
		{name: "In-Reply-To", always: true},
		{name: "References", always: true},
		{name: "MIME-Version", always: true},
		{name: "Content-Type", always: true},
		{name: "Content-Transfer-Encoding", always: true},
		{name: "Sender"},
		{name: "List-Id"},
		{name: "List-Help"},
		{name: "List-Unsubscribe"},
		{name: "List-Unsubscribe-Post"},
		{name: "List-Subscribe"},
		{name: "List-Post"},
		{name: "List-Owner"},
		{name: "List-Archive"},
	}
}

type signedField struct {
	name   string
	always bool
	count  int
}

// prepare returns the names for h= and a header section of the fields to be
// signed only, each on one line. That is the same to relaxed canonicalization,
// and keeps go-msgauth, whose time grows with the square of the number of lines
// in a field and of fields, away from what a client sent.
func prepare(header []byte) (names []string, fields []byte, err error) {
	list := signedFields()
	fields = make([]byte, 0, min(len(header), 4<<10)+2)
	size := 0
	for len(header) > 0 {
		line := nextField(header)
		header = header[len(line):]
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			break
		}
		name, value, ok := bytes.Cut(line, []byte{':'})
		if !ok {
			continue
		}
		name = bytes.TrimRight(name, " \t\r\n") // RFC 5322 section 4.5
		for i := range list {
			f := &list[i]
			if len(name) != len(f.name) || !strings.EqualFold(string(name), f.name) {
				continue
			}
			if f.count++; f.count > 1 && f.name == "From" {
				return nil, nil, ErrFrom
			}
			if size += len(f.name) + 1; size > maxNames {
				return nil, nil, ErrTooManyFields
			}
			fields = append(fields, f.name...)
			fields = append(fields, ':')
			for _, c := range value {
				if c != '\r' && c != '\n' {
					fields = append(fields, c)
				}
			}
			fields = append(fields, '\r', '\n')
			break
		}
	}
	if list[0].count == 0 {
		return nil, nil, ErrFrom
	}
	names = make([]string, 0, len(list)*2)
	for _, f := range list {
		for range f.count {
			names = append(names, f.name)
		}
		if f.always || f.count > 0 {
			names = append(names, f.name)
			size += len(f.name) + 1
		}
	}
	if size > maxNames {
		return nil, nil, ErrTooManyFields
	}
	return names, append(fields, '\r', '\n'), nil
}

// nextField returns the first field of header with its continuation lines.
func nextField(header []byte) []byte {
	end := 0
	for {
		i := bytes.IndexByte(header[end:], '\n')
		if i < 0 {
			return header
		}
		end += i + 1
		if end == len(header) || header[end] != ' ' && header[end] != '\t' {
			return header[:end]
		}
	}
}

package httpapi

import (
	"io"
	"reflect"
	"strings"

	"github.com/postern-mail/postern/relay"
)

// Compose makes a message of a JSON body. parts is how many it must have inside
// multipart/mixed, and headers the names of the fields that the client has set.
func Compose(body []byte) (
	m *relay.Message, content []byte, parts int, headers map[string]string, faults int,
) {
	in, f := decode(body, 200)
	if len(f) > 0 {
		return nil, nil, 0, nil, len(f)
	}
	m, f = in.compose()
	if len(f) > 0 {
		return nil, nil, 0, nil, len(f)
	}
	content, _ = io.ReadAll(m.Content)
	if parts = len(in.Attachments); parts > 0 && (in.Text != "" || in.HTML != "") {
		parts++
	}
	return m, content, parts, in.Headers, 0
}

// Weight is how often the size of a JSON body counts.
const Weight, RecipientWeight = weight, recipientWeight

// Made is a message made of a body, with all that is in memory then.
type Made struct {
	in  *message
	out *relay.Message
}

// Make makes a message for at most so many recipients, and tells how long it
// may be and is.
func Make(body []byte, recipients int) (made Made, estimate, length int) {
	in, f := decode(body, recipients)
	if len(f) > 0 {
		panic(f)
	}
	out, f := in.compose()
	if len(f) > 0 {
		panic(f)
	}
	c := composition{message: in, parts: f.attachments(in.Attachments)}
	c.from, c.to = f.mailbox("", in.From, false), f.mailboxes("", in.To, false)
	return Made{in, out}, c.size(), int(out.Size)
}

// Fields returns the JSON names of a body's fields, by the name of the schema,
// and those that are always there.
func Fields() (all, required map[string][]string) {
	all, required = make(map[string][]string), make(map[string][]string)
	for name, v := range map[string]any{
		"Message": message{}, "Attachment": attachment{}, "Accepted": accepted{},
		"Problem": problem{}, "Fault": fault{}, "Reply": smtpReply{},
	} {
		t := reflect.TypeOf(v)
		for i := range t.NumField() {
			tag, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			if tag == "" {
				continue
			}
			all[name] = append(all[name], tag)
			if options != "omitempty" {
				required[name] = append(required[name], tag)
			}
		}
	}
	return all, required
}

// Limits that the document states.
var Limits = map[string]float64{
	"Message.from.maxLength":            maxAddress,
	"Message.reply_to.maxItems":         maxReplyTo,
	"Message.subject.maxLength":         maxSubject,
	"Message.headers.maxProperties":     maxHeaders,
	"Message.attachments.maxItems":      maxAttachments,
	"Message.labels.maxProperties":      maxLabels,
	"Attachment.name.maxLength":         maxFileName,
	"Attachment.content_type.maxLength": maxMediaType,
}

// Buffered returns what is held in memory by requests under way.
func Buffered(h any) int64 { return h.(*handler).buffered.Load() }

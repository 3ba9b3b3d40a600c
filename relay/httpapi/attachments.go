package httpapi

import (
	"encoding/base64"
	"fmt"
	"mime"
	"net/url"
	"strings"
)

type attachment struct {
	Name        string `json:"name"`
	ContentType string `json:"content_type"`
	Content     string `json:"content"` // base64
}

// part is an attachment made ready.
type part struct {
	contentType, disposition string
	content                  []byte
}

func (f *faults) attachments(list []attachment) []part {
	if len(list) > maxAttachments {
		f.add("#/attachments", "too many attachments")
		return nil
	}
	var parts []part
	for i, a := range list {
		pointer := fmt.Sprintf("#/attachments/%d/", i)
		var p part
		kind, params := "application/octet-stream", map[string]string(nil)
		if a.ContentType != "" {
			var err error
			kind, params, err = mime.ParseMediaType(a.ContentType)
			if err != nil || len(a.ContentType) > maxMediaType {
				kind = ""
			}
		}
		delete(params, "boundary")
		// RFC 2046 section 5: other encodings than 7bit, 8bit and binary are
		// not for multipart and message.
		top, _, slash := strings.Cut(kind, "/")
		if p.contentType = mime.FormatMediaType(kind, params); !slash || top == "multipart" ||
			top == "message" || p.contentType == "" {
			f.add(pointer+"content_type", "not a media type, or one of multipart and message")
		}
		p.disposition = "attachment"
		if a.Name != "" {
			// RFC 2231 for names beyond ASCII.
			p.disposition = mime.FormatMediaType(
				"attachment", map[string]string{"filename": a.Name},
			)
		}
		if isLiteral(a.Name) {
			p.disposition = "attachment; filename*=utf-8''" + strings.ReplaceAll(
				url.QueryEscape(a.Name), "+", "%20",
			)
		}
		if len(a.Name) > maxFileName || hasControl(a.Name) || p.disposition == "" {
			f.add(pointer+"name", "too long, or control characters")
		}
		var err error
		if p.content, err = base64.StdEncoding.Strict().DecodeString(a.Content); err != nil {
			f.add(pointer+"content", "not base64")
		}
		parts = append(parts, p)
	}
	return parts
}

#include "supervisor/properties.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct scan {
	const char *next, *end;
	char *out;
	unsigned line;
	bool bad;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\f';
}

static bool is_newline(char c)
{
	return c == '\n' || c == '\r';
}

static void skip_blanks(struct scan *s)
{
	while (s->next < s->end && is_blank(*s->next))
		s->next++;
}

/* \n, \r or \r\n. */
static void skip_newline(struct scan *s)
{
	if (s->next == s->end)
		return;
	if (*s->next++ == '\r' && s->next < s->end && *s->next == '\n')
		s->next++;
	s->line++;
}

static void put_utf8(struct scan *s, unsigned c)
{
	if (c < 0x80) {
		*s->out++ = (char)c;
	} else if (c < 0x800) {
		*s->out++ = (char)(0xc0 | c >> 6);
		*s->out++ = (char)(0x80 | (c & 0x3f));
	} else {
		*s->out++ = (char)(0xe0 | c >> 12);
		*s->out++ = (char)(0x80 | (c >> 6 & 0x3f));
		*s->out++ = (char)(0x80 | (c & 0x3f));
	}
}

static void take_unicode(struct scan *s)
{
	unsigned c = 0;

	for (int i = 0; i < 4; i++) {
		static const char digits[] = "0123456789abcdefABCDEF";
		const char *d = s->next < s->end && *s->next ? strchr(digits, *s->next) : NULL;

		if (!d) {
			s->bad = true;
			return;
		}
		c = c * 16 + (unsigned)(d - digits) % 22 - (d - digits > 15 ? 6 : 0);
		s->next++;
	}
	s->bad |= c == 0;
	put_utf8(s, c);
}

/* What follows a backslash. */
static void take_escape(struct scan *s)
{
	static const char from[] = "tnrf", to[] = "\t\n\r\f";
	const char *known;

	if (s->next == s->end)
		return;
	if (is_newline(*s->next)) {
		skip_newline(s);
		skip_blanks(s);
		return;
	}
	if (*s->next == 'u') {
		s->next++;
		take_unicode(s);
		return;
	}
	known = *s->next ? strchr(from, *s->next) : NULL;
	*s->out++ = known ? to[known - from] : *s->next;
	s->next++;
}

/* One character of a key or value. */
static void take(struct scan *s)
{
	char c = *s->next++;

	if (c == '\\')
		take_escape(s);
	else
		*s->out++ = c;
	s->bad |= c == '\0';
}

/* End the string that began at `from`; without blanks at either end. */
static char *finish(struct scan *s, char *from)
{
	while (s->out > from && (is_blank(s->out[-1]) || is_newline(s->out[-1])))
		s->out--;
	*s->out++ = '\0';
	while (is_blank(*from) || is_newline(*from))
		from++;
	return from;
}

static void take_property(struct scan *s, struct sup_property *p)
{
	char *from = s->out;

	p->line = s->line;
	while (s->next < s->end && !s->bad && !is_blank(*s->next) && !is_newline(*s->next) &&
	       *s->next != '=' && *s->next != ':')
		take(s);
	p->key = finish(s, from);
	skip_blanks(s);
	if (s->next < s->end && (*s->next == '=' || *s->next == ':'))
		s->next++;
	skip_blanks(s);
	from = s->out;
	while (s->next < s->end && !s->bad && !is_newline(*s->next))
		take(s);
	p->value = finish(s, from);
}

int sup_properties_parse(struct sup_properties *p, const char *text, size_t len, unsigned *line)
{
	struct scan s = {.next = text, .end = text + len, .line = 1};

	*p = (struct sup_properties){0};
	if (len > SUP_PROPERTIES_BYTES_MAX)
		return -E2BIG;
	p->list = calloc(SUP_PROPERTIES_MAX, sizeof(*p->list));
	/* A property adds two zero bytes to its characters, and has one at least. */
	p->text = s.out = malloc(3 * len + 3);
	if (!p->list || !p->text) {
		sup_properties_free(p);
		return -ENOMEM;
	}
	while (s.next < s.end && !s.bad && p->n < SUP_PROPERTIES_MAX) {
		skip_blanks(&s);
		if (s.next == s.end)
			break;
		if (*s.next == '#' || *s.next == '!')
			while (s.next < s.end && !is_newline(*s.next))
				s.next++;
		else if (!is_newline(*s.next))
			take_property(&s, &p->list[p->n++]);
		if (!s.bad)
			skip_newline(&s);
	}
	*line = s.line;
	if (!s.bad && s.next == s.end)
		return 0;
	sup_properties_free(p);
	return s.bad ? -EINVAL : -E2BIG;
}

void sup_properties_free(struct sup_properties *p)
{
	free(p->list);
	free(p->text);
	*p = (struct sup_properties){0};
}

#include "writer/marks.h"

#include <string.h>

void wtr_marks_add(struct wtr_marks *m, int64_t zxid, uint64_t bytes)
{
	if (m->n == WTR_MARKS)
		memmove(m->at, m->at + 1, sizeof(m->at[0]) * --m->n);
	m->at[m->n].zxid = zxid;
	m->at[m->n++].bytes = bytes;
}

int64_t wtr_marks_far(const struct wtr_marks *m, uint64_t bytes_now, uint64_t most)
{
	for (uint32_t i = m->n; i-- > 0;)
		if (bytes_now - m->at[i].bytes > most)
			return m->at[i].zxid;
	return 0;
}

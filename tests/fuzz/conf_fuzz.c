/* Any text is a configuration or an error with a message; nothing else happens. */
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "supervisor/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct sup_conf_texts texts;
	struct conf c;

	if (sup_conf_parse(&c, "zoo.cfg", (const char *)data, size, &texts) == 0) {
		CHECK(c.data_dir);
		CHECK(c.session_min_ms <= c.session_max_ms);
		CHECK(c.purge_retain >= 3);
		CHECK(!texts.error[0]);
		sup_conf_free(&c);
	} else {
		CHECK(texts.error[0]);
	}
	CHECK(!c.data_dir);
	return 0;
}

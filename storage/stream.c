#include <errno.h>

#include "storage/file.h"
#include "storage/reader.h"
#include "storage/zkput.h"
#include "storage/zksnap.h"

enum { SIGNATURE_SIZE = 4 + sizeof(ZK_SNAP_SIGNATURE) - 1 };

struct stream {
	struct sto_zk_survey survey;
	struct sto_zk_put put;
	struct sto_zk_out out;
};

static int survey_begin(void *self, const struct sto_snap_head *head)
{
	(void)head;
	sto_zk_survey_free(&((struct stream *)self)->survey);
	return 0;
}

static int survey_session(void *self, int64_t id, int32_t timeout_ms)
{
	(void)id, (void)timeout_ms;
	((struct stream *)self)->survey.sessions++;
	return 0;
}

static int survey_node(void *self, const struct sto_snap_node *n)
{
	return sto_zk_survey_node(&((struct stream *)self)->survey, n);
}

static int survey_loaded(void *self, const struct sto_snap_head *head)
{
	struct stream *s = self;

	(void)head;
	return s->survey.nodes ? 0 : sto_zk_initial_nodes(self, survey_node);
}

static int write_begin(void *self, const struct sto_snap_head *head)
{
	struct stream *s = self;

	(void)head;
	return sto_zk_put_begin(&s->put, &s->survey, &s->out);
}

static int write_session(void *self, int64_t id, int32_t timeout_ms)
{
	return sto_zk_put_session(&((struct stream *)self)->put, id, timeout_ms);
}

static int write_node(void *self, const struct sto_snap_node *n)
{
	return sto_zk_put_node(&((struct stream *)self)->put, n);
}

static int write_loaded(void *self, const struct sto_snap_head *head)
{
	struct stream *s = self;
	struct jute_out out;
	int err = s->put.nodes ? 0 : sto_zk_initial_nodes(self, write_node);

	(void)head;
	if (!err)
		err = sto_zk_put_end(&s->put);
	if (!err)
		err = sto_zk_out_room(&s->out, SIGNATURE_SIZE, &out);
	if (err)
		return err;
	jute_put_ustring(&out, jute_text(ZK_SNAP_SIGNATURE));
	return sto_zk_out_flush(&s->out);
}

static int pass(const struct sto_fs *fs, int dir, int64_t zxid, const struct sto_sink *sink)
{
	struct sto_snap_head head;
	char why[STO_WHY_MAX];
	int sink_error = 0;
	int err = sto_snap_load(fs, dir, zxid, sink, &head, &sink_error, why);

	return sink_error ? sink_error : err;
}

/* The first pass reads all of the file: not a byte of a snapshot that is damaged is sent. */
int sto_snap_stream(const struct sto_fs *fs, const char *snap_dir, int64_t zxid,
		    int (*put)(void *arg, const void *bytes, size_t n), void *arg)
{
	struct stream s = {.out = {.flush = put, .arg = arg}};
	const struct sto_sink survey = {&s,          survey_begin,  survey_session,
					survey_node, survey_loaded, NULL};
	const struct sto_sink write = {&s,         write_begin,  write_session,
				       write_node, write_loaded, NULL};
	int err, dir = sto_dir_open(fs, snap_dir);

	if (dir < 0)
		return dir;
	err = pass(fs, dir, zxid, &survey);
	if (!err)
		err = pass(fs, dir, zxid, &write);
	sto_zk_out_free(&s.out);
	sto_zk_survey_free(&s.survey);
	fs->close(fs->self, dir);
	return err;
}

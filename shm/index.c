/*
 * index.c - from a full path to its node
 *
 * Extendible hashing. The top `depth` bits of the hash choose a segment of the directory; the low
 * 6 bits choose the first bucket in it, the 8 bits above them are the tag. A full bucket sends
 * nodes on to the next one of the segment (the last to the first), and counts them; a lookup goes
 * on as long as that count is not 0. A segment too full is split in two by one more bit, never in
 * place: readers have the old one or the new ones. Depth and array of the directory hang off one
 * pointer, so that a reader never mixes two sizes.
 *
 * One entry for each path: the newest life; the dead ones before it hang off its older_life.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "shm/node.h"

enum {
	PROBES_MAX = 4, /* buckets to try before a segment is split */
	DEPTH_MAX = 28,
	PASSED_MAX = 255, /* a count that has come here stays */
	PASSED_SHIFT = 56,
	NODE_BYTES = 300, /* of a usual node, all told */
};

static uint64_t tag_of(uint64_t hash)
{
	uint64_t tag = hash >> 6 & 0xff;

	return tag ? tag : 1;
}

static size_t segment_index(const struct shm_directory *d, uint64_t hash)
{
	return d->depth ? hash >> (64 - d->depth) : 0;
}

static struct shm_bucket *buckets_of(uintptr_t entry)
{
	return (struct shm_bucket *)(entry & ~(uintptr_t)63);
}

static struct shm_bucket *segment_of(const struct shm_tree *t, uint64_t hash)
{
	struct shm_directory *d = RCU_GET(t->directory);

	return buckets_of(__atomic_load_n(&d->segment[segment_index(d, hash)], __ATOMIC_ACQUIRE));
}

static void tag_set(struct shm_bucket *b, unsigned slot, uint64_t tag)
{
	uint64_t tags = b->tags & ~((uint64_t)0xff << slot * 8);

	__atomic_store_n(&b->tags, tags | tag << slot * 8, __ATOMIC_RELEASE);
}

static void passed_add(struct shm_bucket *b, int by)
{
	uint64_t passed = b->tags >> PASSED_SHIFT;

	if (passed == PASSED_MAX)
		return;
	SHARED_SET(b->tags, b->tags + ((uint64_t)(int64_t)by << PASSED_SHIFT));
}

/* Bits 7, 15, ..: the bytes of tags that may equal tag (a byte above a true match may be wrong). */
static uint64_t tag_match(uint64_t tags, uint64_t tag)
{
	uint64_t x = tags ^ tag * 0x0101010101010101;

	return (x - 0x0101010101010101) & ~x & 0x0080808080808080;
}

static uint64_t node_hash(const struct shm_tree *t, const struct shm_node *n)
{
	return shm_tree_hash(t, n->path, n->path_len);
}

static size_t directory_bytes(uint64_t depth)
{
	return sizeof(struct shm_directory) + ((size_t)8 << depth);
}

static struct shm_bucket *segment_new(struct shm_tree *t)
{
	struct shm_bucket *b = shm_alloc(&t->arena, SEGMENT_BYTES);

	if (b)
		memset(b, 0, SEGMENT_BYTES);
	return b;
}

int shm_index_init(struct shm_tree *t)
{
	struct shm_directory *d = shm_alloc(&t->arena, directory_bytes(0));
	struct shm_bucket *b = segment_new(t);

	static_assert(sizeof(struct shm_bucket) == 64, "a cache line");
	static_assert(SEGMENT_BUCKETS * sizeof(struct shm_bucket) == SEGMENT_BYTES, "a page");
	if (!d || !b)
		return -ENOMEM;
	d->depth = 0;
	d->segment[0] = (uintptr_t)b;
	t->directory = d;
	return 0;
}

/* ---- find ---- */

void shm_tree_prefetch(const struct shm_tree *t, uint64_t hash)
{
	__builtin_prefetch(&segment_of(t, hash)[hash % SEGMENT_BUCKETS]);
}

/* The first node in the bucket with that tag: nearly always the one. */
static const struct shm_node *likely(const struct shm_tree *t, uint64_t hash)
{
	struct shm_bucket *b = &segment_of(t, hash)[hash % SEGMENT_BUCKETS];
	uint64_t match = tag_match(__atomic_load_n(&b->tags, __ATOMIC_ACQUIRE), tag_of(hash));

	return match ? RCU_GET(b->slot[__builtin_ctzl(match) / 8]) : NULL;
}

void shm_tree_prefetch_node(const struct shm_tree *t, uint64_t hash)
{
	const struct shm_node *n = likely(t, hash);

	if (!n)
		return;
	__builtin_prefetch(n);
	__builtin_prefetch((const char *)n + 64);
}

void shm_tree_prefetch_version(const struct shm_tree *t, uint64_t hash)
{
	const struct shm_node *n = likely(t, hash);
	const char *v = n ? (const char *)RCU_GET(n->version) : NULL;

	if (!v)
		return;
	__builtin_prefetch(v);
	__builtin_prefetch(v + 64);
}

static bool path_is(const struct shm_node *n, const char *path, size_t len)
{
	return n->path_len == len && !memcmp(n->path, path, len);
}

struct shm_node *shm_index_newest(const struct shm_tree *t, uint64_t hash, const char *path,
				  size_t len)
{
	struct shm_bucket *segment = segment_of(t, hash);

	for (unsigned i = 0; i < SEGMENT_BUCKETS; i++) {
		struct shm_bucket *b = &segment[(hash + i) % SEGMENT_BUCKETS];
		uint64_t tags = __atomic_load_n(&b->tags, __ATOMIC_ACQUIRE);

		for (uint64_t m = tag_match(tags, tag_of(hash)); m; m &= m - 1) {
			struct shm_node *n = RCU_GET(b->slot[__builtin_ctzl(m) / 8]);

			DCHECK(!n || n->path[0] == '/'); /* else it was freed too early */
			if (n && path_is(n, path, len))
				return n;
		}
		if (!(tags >> PASSED_SHIFT))
			return NULL;
	}
	return NULL;
}

/* ---- change ---- */

/* Into the first free slot on the way from its bucket, at most `probes` buckets. */
static bool place(struct shm_bucket *segment, uint64_t hash, struct shm_node *n, unsigned probes)
{
	for (unsigned i = 0; i < probes; i++) {
		struct shm_bucket *b = &segment[(hash + i) % SEGMENT_BUCKETS];
		uint64_t free_slots = tag_match(b->tags, 0);

		if (!free_slots)
			continue;
		unsigned slot = (unsigned)__builtin_ctzl(free_slots) / 8;

		if (!n)
			return true;
		RCU_SET(b->slot[slot], n);
		tag_set(b, slot, tag_of(hash));
		while (i--)
			passed_add(&segment[(hash + i) % SEGMENT_BUCKETS], 1);
		return true;
	}
	return false;
}

static int directory_double(struct shm_tree *t)
{
	struct shm_directory *old = t->directory, *d;
	size_t n = (size_t)1 << old->depth;

	d = shm_alloc(&t->arena, directory_bytes(old->depth + 1));
	if (!d)
		return -ENOMEM;
	d->depth = old->depth + 1;
	for (size_t i = 0; i < n; i++)
		d->segment[2 * i] = d->segment[2 * i + 1] = old->segment[i];
	RCU_SET(t->directory, d);
	shm_retire(t, RETIRED_MEMORY, old, directory_bytes(old->depth));
	return 0;
}

/* Move what `from` holds to half[0] and half[1], by bit `bit` of the hash from the top. */
static void distribute(struct shm_tree *t, struct shm_bucket *from, struct shm_bucket *half[2],
		       unsigned bit)
{
	for (unsigned i = 0; i < SEGMENT_BUCKETS; i++) {
		for (unsigned s = 0; i + 4 < SEGMENT_BUCKETS && s < BUCKET_SLOTS; s++)
			__builtin_prefetch((const char *)from[i + 4].slot[s] + 48);
		for (unsigned s = 0; s < BUCKET_SLOTS; s++) {
			if (!(from[i].tags >> s * 8 & 0xff))
				continue;
			struct shm_node *n = from[i].slot[s];
			uint64_t hash = node_hash(t, n);
			bool placed = place(half[hash >> (63 - bit) & 1], hash, n, SEGMENT_BUCKETS);

			CHECK(placed);
		}
	}
}

static int split(struct shm_tree *t, uint64_t hash)
{
	uintptr_t entry = t->directory->segment[segment_index(t->directory, hash)];
	unsigned depth = entry % 64;
	struct shm_bucket *half[2];

	if (depth == DEPTH_MAX || shm_retire_reserve(t, 2))
		return -ENOMEM;
	if (depth == t->directory->depth && directory_double(t))
		return -ENOMEM;
	half[0] = segment_new(t);
	half[1] = half[0] ? segment_new(t) : NULL;
	if (!half[1]) {
		if (half[0])
			shm_free(&t->arena, half[0], SEGMENT_BYTES);
		return -ENOMEM;
	}
	distribute(t, buckets_of(entry), half, depth);
	struct shm_directory *d = t->directory;
	size_t span = (size_t)1 << (d->depth - depth);
	size_t first = segment_index(d, hash) & ~(span - 1);

	for (size_t i = 0; i < span; i++)
		__atomic_store_n(&d->segment[first + i],
				 (uintptr_t)half[i >= span / 2] | (depth + 1), __ATOMIC_RELEASE);
	shm_retire(t, RETIRED_MEMORY, buckets_of(entry), SEGMENT_BYTES);
	return 0;
}

int shm_index_reserve(struct shm_tree *t, uint64_t hash)
{
	while (!place(segment_of(t, hash), hash, NULL, PROBES_MAX)) {
		int error = split(t, hash);

		if (error)
			return error;
	}
	return 0;
}

void shm_index_insert(struct shm_tree *t, uint64_t hash, struct shm_node *n)
{
	bool placed = place(segment_of(t, hash), hash, n, PROBES_MAX);

	CHECK(placed); /* shm_index_reserve() came before */
}

/* The bucket and slot that hold exactly this node; *probes: buckets passed on the way. */
static struct shm_bucket *locate(struct shm_tree *t, uint64_t hash, const struct shm_node *n,
				 unsigned *slot, unsigned *probes)
{
	struct shm_bucket *segment = segment_of(t, hash);

	for (*probes = 0; *probes < SEGMENT_BUCKETS; ++*probes) {
		struct shm_bucket *b = &segment[(hash + *probes) % SEGMENT_BUCKETS];

		for (uint64_t m = tag_match(b->tags, tag_of(hash)); m; m &= m - 1) {
			*slot = (unsigned)__builtin_ctzl(m) / 8;
			if (b->slot[*slot] == n)
				return b;
		}
	}
	CHECK(!"a node is not in the index");
	return NULL;
}

void shm_index_replace(struct shm_tree *t, uint64_t hash, struct shm_node *old, struct shm_node *n)
{
	unsigned slot, probes;
	struct shm_bucket *b = locate(t, hash, old, &slot, &probes);

	RCU_SET(b->slot[slot], n);
}

void shm_index_remove(struct shm_tree *t, uint64_t hash, struct shm_node *n)
{
	unsigned slot, probes;
	struct shm_bucket *b = locate(t, hash, n, &slot, &probes);

	tag_set(b, slot, 0);
	RCU_SET(b->slot[slot], NULL);
	while (probes--)
		passed_add(&segment_of(t, hash)[(hash + probes) % SEGMENT_BUCKETS], -1);
}

/* ---- all ---- */

void shm_tree_presize(struct shm_tree *t, uint64_t nodes)
{
	struct shm_directory *d;
	uint64_t depth = 0, segments, most = shm_arena_left(&t->arena) / NODE_BYTES;

	nodes = nodes < most ? nodes : most; /* the number is only announced */
	segments = nodes / (SEGMENT_BUCKETS * BUCKET_SLOTS * 3 / 4);
	while (depth < DEPTH_MAX && (uint64_t)1 << depth < segments)
		depth++;
	shm_arena_expect(&t->arena, nodes * NODE_BYTES);
	if (t->root || !depth)
		return; /* it grows by itself */
	d = shm_alloc(&t->arena, directory_bytes(depth));
	if (!d)
		return;
	d->depth = depth;
	for (size_t i = 0; i < (size_t)1 << depth; i++) {
		struct shm_bucket *b = segment_new(t);

		if (!b) {
			while (i--)
				shm_free(&t->arena, buckets_of(d->segment[i]), SEGMENT_BYTES);
			shm_free(&t->arena, d, directory_bytes(depth));
			return;
		}
		d->segment[i] = (uintptr_t)b | depth;
	}
	shm_free(&t->arena, buckets_of(t->directory->segment[0]), SEGMENT_BYTES);
	shm_free(&t->arena, t->directory, directory_bytes(0));
	t->directory = d;
}

void shm_index_walk(const struct shm_tree *t, void (*each)(struct shm_node *n, void *arg),
		    void *arg)
{
	const struct shm_directory *d = t->directory;

	for (size_t i = 0; i < (size_t)1 << d->depth;) {
		struct shm_bucket *segment = buckets_of(d->segment[i]);

		for (unsigned j = 0; j < SEGMENT_BUCKETS * BUCKET_SLOTS; j++) {
			struct shm_bucket *b = &segment[j / BUCKET_SLOTS];

			if (b->tags >> j % BUCKET_SLOTS * 8 & 0xff)
				each(b->slot[j % BUCKET_SLOTS], arg);
		}
		i += (size_t)1 << (d->depth - d->segment[i] % 64);
	}
}

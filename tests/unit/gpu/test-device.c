/* nbdkit-vram: tests of device=, the choice of a GPU, and allow=
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "common/clock.h"
#include "gpu/cuda/context.h"
#include "gpu/cuda/boost.h"
#include "gpu/cuda/device.h"
#include "gpu/cuda/provider.h"
#include "gpu/devices.h"
#include "gpu/driver.h"
#include "nbdkit-stubs.h"
#include "peer.h"
#include "common/memlock.h"
#include "common/units.h"

#define COUNT(array) (sizeof (array) / sizeof (array)[0])

static struct devices gpus;

static const struct {
  const char *name;
  unsigned char uuid;
  uint64_t total;
} machine[] = {
  { "NVIDIA A100", 0x10, 40 * GiB },
  { "NVIDIA A100 80GB", 0x20, 80 * GiB },
  { "GeForce RTX 3070", 0x30, 8 * GiB },
  { "GeForce RTX 3070", 0x40, 8 * GiB },
};

/* USED: how much VRAM of each GPU other programs hold. */
static void
begin_used (const char *used)
{
  driver_set ("DEVICES", "4");
  driver_set ("NAMES", "NVIDIA A100,NVIDIA A100 80GB,GeForce RTX 3070,"
                       "GeForce RTX 3070");
  driver_set ("UUIDS", "1001ab00-0000-0000-0000-000000000000,"
                       "2002cd00-0000-0000-0000-000000000000,"
                       "30030000-0000-0000-0000-000000000000,"
                       "40040000-0000-0000-0000-000000000000");
  driver_set ("PCI", "0000:01:00.0,0000:0a:1f.0,0001:01:00.0,abcd:ff:00.0");
  driver_set ("MEMORY", "40G,80G,8G,8G");
  driver_set ("USED", used);
  driver_begin ();
  stub_messages_clear ();
}

static void
begin (void)
{
  begin_used ("0");
}

/* 580.105.08 is the first version whose libcuda knows the variable. */
static void
test_boost_version_known (void)
{
  CHECK (boost_version_known ("580.105.08"));
  CHECK (boost_version_known ("580.159.04"));
  CHECK (boost_version_known ("595.44"));
  CHECK (boost_version_known ("1000.1.1"));
  CHECK (!boost_version_known ("580.105.07"));
  CHECK (!boost_version_known ("580.95.05"));
  CHECK (!boost_version_known ("575.200.100"));
  CHECK (!boost_version_known ("none"));
  CHECK (!boost_version_known (""));
}

static void
test_list (void)
{
  begin ();
  CHECK_EQ (devices_list (&gpus), 0);
  CHECK_EQ (gpus.count, 4);
  for (int i = 0; i < 4; ++i) {
    CHECK_EQ (gpus.gpu[i].index, i);
    CHECK_STR (gpus.gpu[i].name, machine[i].name);
    CHECK_EQ (gpus.gpu[i].total, machine[i].total);
    CHECK_EQ (gpus.gpu[i].uuid_bytes[0], machine[i].uuid);
  }
  CHECK_STR (gpus.gpu[0].pci, "0000:01:00.0");
  CHECK_STR (gpus.gpu[1].pci, "0000:0a:1f.0");
  CHECK_STR (gpus.gpu[3].pci, "abcd:ff:00.0");
  CHECK_STR (gpus.gpu[0].uuid, "GPU-1001ab00-0000-0000-0000-000000000000");
  devices_free (&gpus);

  driver->set_devices (0);
  CHECK_EQ (devices_list (&gpus), -1);
  CHECK_EQ (stub_errors_count (), 1);
  CHECK_HOLDS (stub_errors (), "lists no GPU");
  stub_messages_clear ();
  driver->set_devices (4);

  /* A GPU that fails does not affect the others. */
  driver->fail ("cuDeviceGetUuid", 3, CUDA_ERROR_UNKNOWN);
  CHECK_EQ (devices_list (&gpus), 0);
  CHECK_EQ (stub_errors_count (), 1);
  CHECK_HOLDS (stub_errors (), "warning: cannot query GPU 2");
  CHECK_EQ (gpus.count, 3);
  CHECK_EQ (gpus.gpu[2].index, 3);
  CHECK (devices_find (&gpus, "3") == &gpus.gpu[2]);
  devices_free (&gpus);

  stub_messages_clear ();
  driver->fail ("cuDevice*", 0, CUDA_ERROR_UNKNOWN);
  CHECK_EQ (devices_list (&gpus), -1);
  CHECK_EQ (stub_errors_count (), 1);
  CHECK_HOLDS (stub_errors (), "cannot list the GPUs");
  CHECK (gpus.gpu == NULL && gpus.count == 0);
  driver->set_devices (1);
  stub_messages_clear ();
  driver->fail (NULL, 0, 0);
  driver->fail ("cuDeviceTotalMem", 1, CUDA_ERROR_UNKNOWN);
  CHECK_EQ (devices_list (&gpus), -1);
  CHECK_EQ (stub_errors_count (), 2);
  CHECK_HOLDS (stub_errors (), "cannot list the GPUs");
  CHECK (gpus.gpu == NULL && gpus.count == 0);
}

#define NONE    -1
#define SEVERAL -2

static void
test_find (void)
{
  static const struct {
    const char *spec;
    int index;
  } table[] = {
    /* Numbers */
    { "0", 0 },
    { "3", 3 },
    { "03", 3 },
    { "4", NONE },
    { "-1", NONE },
    { "4294967296", NONE },
    { "18446744073709551616", NONE },
    /* Names: a full match comes before a part; upper and lower case match */
    { "NVIDIA A100", 0 },
    { "nvidia a100", 0 },
    { "NVIDIA A100 80GB", 1 },
    { "80gb", 1 },
    { "A100", SEVERAL },
    { "geforce", SEVERAL },
    { "GeForce RTX 3070", SEVERAL },
    { "Radeon", NONE },
    { "", NONE },
    /* Digits are a number, never a part of a name */
    { "3070", NONE },
    { "100", NONE },
    /* UUIDs */
    { "GPU-1001ab00-0000-0000-0000-000000000000", 0 },
    { "gpu-2002CD00-0000-0000-0000-000000000000", 1 },
    { "30030000-0000-0000-0000-000000000000", 2 },
    { "GPU-1001ab00", NONE },
    { "GPU-50030000-0000-0000-0000-000000000000", NONE },
    /* PCI addresses; without a domain that is 0 */
    { "0000:01:00.0", 0 },
    { "00000000:01:00.0", 0 },
    { "00000000:0A:1F.0", 1 },
    { "01:00.0", 0 },
    { "1:0.0", 0 },
    { "0a:1f.0", 1 },
    { "0001:01:00.0", 2 },
    { "00000001:01:00.0", 2 },
    { "ABCD:FF:00.0", 3 },
    { "ff:00.0", NONE },
    { "0000:01:00.1", NONE },
    { "0000:01:00.0x", NONE },
    { "0000:01:00", NONE },
    { "0000:02:00.0", NONE },
  };

  begin ();
  CHECK_EQ (devices_list (&gpus), 0);
  for (size_t i = 0; i < COUNT (table); ++i) {
    const struct device *gpu;

    stub_messages_clear ();
    gpu = devices_find (&gpus, table[i].spec);
    if ((gpu ? gpu->index : NONE) !=
        (table[i].index == SEVERAL ? NONE : table[i].index))
      check_fail (__FILE__, __LINE__, "device=%s is %d", table[i].spec,
                  gpu ? gpu->index : NONE);
    if (gpu) {
      CHECK_EQ (stub_errors_count (), 0);
      continue;
    }
    /* The message says what is wrong, and lists the GPUs. */
    CHECK_EQ (stub_errors_count (), 5);
    CHECK_HOLDS (stub_errors (), table[i].index == SEVERAL ? "matches 2 GPUs"
                                                           : ": no such GPU");
    for (unsigned g = 0; g < 4; ++g)
      CHECK_HOLDS (stub_errors (), gpus.gpu[g].uuid);
  }
  devices_free (&gpus);
}

/* The number of the GPU with the most free VRAM, or NONE. */
static int
most_free (const char *used)
{
  const struct device *gpu;
  int index;

  begin_used (used);
  CHECK_EQ (devices_list (&gpus), 0);
  gpu = devices_most_free (&cuda_provider, &gpus);
  index = gpu ? gpu->index : NONE;
  devices_free (&gpus);
  driver_check_freed ();
  return index;
}

static void
test_most_free (void)
{
  CHECK_EQ (most_free ("0"), 1);
}

static void
test_most_free_by_use (void)
{
  uint64_t bytes;

  CHECK_EQ (most_free ("0,41G,0,0"), 0);
  CHECK_EQ (devices_list (&gpus), 0);
  CHECK_EQ (device_free_bytes (&gpus.gpu[1], &bytes), 0);
  CHECK_EQ (bytes, 39 * GiB);
  devices_free (&gpus);
}

/* The first of several equal GPUs.  A GPU that does not answer is left out.
 * If none answers, there is no choice.
 */
static void
test_most_free_of_equals (void)
{
  CHECK_EQ (most_free ("39G,79G,0,0"), 2);
  CHECK_EQ (devices_list (&gpus), 0);
  driver->fail ("cuDevicePrimaryCtxRetain", 3, CUDA_ERROR_UNKNOWN);
  CHECK_EQ (devices_most_free (&cuda_provider, &gpus)->index, 3);
  driver_check_freed ();
  driver->fail ("cuDevicePrimaryCtxRetain", 0, 719);
  CHECK (devices_most_free (&cuda_provider, &gpus) == NULL);
  devices_free (&gpus);
}

/* ---- Clients ---- */

static void
test_peers (void)
{
  stub_messages_clear ();
  stub_set_peer (AF_UNIX, 0);
  CHECK (peer_allowed ());
  stub_set_peer (AF_UNIX, (int64_t) geteuid ());
  CHECK (peer_allowed ());
  CHECK_EQ (stub_errors_count (), 0);
  stub_set_peer (AF_UNIX, (int64_t) geteuid () + 12345);
  CHECK (!peer_allowed ());
  CHECK_EQ (stub_errors_count (), 1);
  CHECK_HOLDS (stub_errors (), "allow=any");
  /* The client's user is not known. */
  stub_set_peer (AF_UNIX, -1);
  CHECK (!peer_allowed ());
  /* Other sockets have no user, which is logged once. */
  stub_messages_clear ();
  stub_set_peer (AF_INET, -1);
  for (unsigned i = 0; i < 3; ++i)
    CHECK (!peer_allowed ());
  CHECK_EQ (stub_errors_count (), 1);
  CHECK_HOLDS (stub_errors (), "use nbdkit --unix, or allow=any");
}

#define REFUSALS 1000

static void *
refuse_often (void *now_ms)
{
  for (unsigned i = 0; i < REFUSALS; ++i)
    peer_log_refusal (70001, *(uint64_t *) now_ms);
  return NULL;
}

/* Clients that are refused cannot fill the log. */
static void
test_refusals (void)
{
  uint64_t now_ms = clock_ms ();
  pthread_t thread[4];

  /* The first line about a user says what to do. */
  stub_messages_clear ();
  peer_log_refusal (70001, now_ms);
  CHECK_EQ (stub_errors_count (), 1);
  CHECK_HOLDS (stub_errors (), "refused a client with uid 70001: only root");
  CHECK_HOLDS (stub_errors (), "allow=any");

  stub_messages_clear ();
  for (size_t i = 0; i < COUNT (thread); ++i)
    CHECK (pthread_create (&thread[i], NULL, refuse_often, &now_ms) == 0);
  for (size_t i = 0; i < COUNT (thread); ++i)
    pthread_join (thread[i], NULL);
  peer_log_refusal (70001, now_ms + REFUSED_AGAIN_MS - 1);
  CHECK_EQ (stub_errors_count (), 0);
  CHECK_HOLDS (stub_debugs (), "uid 70001");

  /* Every refusal is counted in a later line, and only once. */
  now_ms += REFUSED_AGAIN_MS;
  peer_log_refusal (70001, now_ms);
  CHECK_EQ (stub_errors_count (), 1);
  CHECK_STR (stub_errors (), "refused 4002 more clients, the last with uid "
                             "70001\n");
  stub_messages_clear ();
  peer_log_refusal (70001, now_ms);
  CHECK_EQ (stub_errors_count (), 0);
  now_ms += REFUSED_AGAIN_MS;
  peer_log_refusal (70001, now_ms);
  CHECK_HOLDS (stub_errors (), "refused 2 more clients");

  /* Many users cannot fill the log either. */
  stub_messages_clear ();
  for (unsigned i = 0; i < REFUSALS; ++i)
    peer_log_refusal (80000 + i, now_ms);
  CHECK_HOLDS (stub_errors (), "refused a client with uid 80000");
  CHECK (stub_errors_count () < REFUSED_USERS_MAX);
}

int
main (int argc, char *argv[])
{
  check_begin (argc, argv);
  RUN (test_boost_version_known);
  RUN_ALONE (test_list);
  RUN_ALONE (test_find);
  RUN_ALONE (test_most_free);
  RUN_ALONE (test_most_free_by_use);
  RUN_ALONE (test_most_free_of_equals);
  RUN (test_peers);
  RUN (test_refusals);
  return check_end ();
}

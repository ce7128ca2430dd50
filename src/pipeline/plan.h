/* The memory plan: what each stage of a run will take, part by part, before any of it is taken.
 *
 *   plan_facts.c   what is measured once: lengths of the texts, the process as it stands
 *   plan_parts.c   what a model, a role, a tape … adds to a stage; asks the functions that allocate
 *   plan_stages.c  which of them each stage holds at its fullest, in the order of the stage files
 *   plan_change.c  the changes of a recipe that would make it fit
 *   plan_write.c   the table and the refusal
 *
 * Every size comes from a query beside the code that allocates (ap_tape_bytes,
 * ap_params_packed_bytes …); docs/memory.md says what is counted. */
#ifndef AP_PIPELINE_PLAN_H
#define AP_PIPELINE_PLAN_H

#include "base/process.h"
#include "model/transformer.h"
#include "pipeline/run_inner.h"

enum ap_plan_part {
    AP_PLAN_MAPPED,      /* weights read in place from files */
    AP_PLAN_WEIGHTS,     /* weights packed for products, own copies, rope tables */
    AP_PLAN_ADAPTERS,    /* LoRA's matrices, plain and packed */
    AP_PLAN_GRADIENTS,   /* of what trains */
    AP_PLAN_OPTIMISER,   /* Adam's two moments */
    AP_PLAN_ACTIVATIONS, /* tapes: activations, scratch, blocks of logits */
    AP_PLAN_CACHES,      /* keys and values, logits of the sequences being decoded */
    AP_PLAN_DATA,        /* token sequences, rollout tables */
    AP_PLAN_PROCESS,     /* what the process has when the plan is made: program, libraries, texts,
                            tokenizers; and the page cache of run.db */
    AP_PLAN_PARTS
};

#define AP_PLAN_STAGES 18

struct ap_plan_stage {
    const char *name; /* as in the run's log; best-of-n is sft's sampling */
    size_t part[AP_PLAN_PARTS];
    size_t sum; /* SIZE_MAX: past counting */
};

/* Texts as one model sees them in one stage. */
struct ap_plan_texts {
    size_t bytes; /* of memory that their sequences take */
    int longest;  /* tokens; of a pair both sides together */
};

struct ap_plan_facts {
    struct ap_plan_texts pretrain, sft, pairs, align, rlhf, dpo, ift, best_of, eval_target,
        eval_prompter, bound_target, bound_prompter;
    struct ap_plan_texts judges[AP_PAIRWISE_MAX]; /* questions of the judges that are models */
    size_t process;                               /* bytes it has */
};

struct ap_plan {
    struct ap_plan_facts facts;
    struct ap_plan_stage stages[AP_PLAN_STAGES];
    int n;
    size_t peak;
    int at; /* the stage of the peak */
};

/* Lengths of the texts of the stages that will be run, and the process. wanted: as in
 * ap_run_stage. */
ap_status ap_plan_measure(struct ap_run *run, const char *wanted, struct ap_plan_facts *out,
                          struct ap_error *err);
/* The stages that ap_run_stage(wanted) will run, under settings that may differ from the run's in
 * batch sizes, context, dtype and adapters; plan->facts is there. */
ap_status ap_plan_make(const struct ap_run *run, const struct ap_settings *s, const char *wanted,
                       struct ap_plan *plan, struct ap_error *err);

/* Bytes that the process may have at its peak, and why. */
struct ap_room ap_plan_room(const struct ap_run *run, const struct ap_plan_facts *facts);
/* Table, peak and room as text for the user. */
ap_status ap_plan_write(const struct ap_plan *plan, const struct ap_room *room,
                        struct ap_buffer *out, struct ap_error *err);
/* AP_LIMIT, with the changes that would make it fit, when the peak is more than the room. */
ap_status ap_plan_check(const struct ap_run *run, const char *wanted, const struct ap_plan *plan,
                        const struct ap_room *room, struct ap_error *err);

/* The changes of a recipe that make it fit, at most three, the least loss first; one a line into
 * out; "" when none does. */
ap_status ap_plan_changes(const struct ap_run *run, const char *wanted,
                          const struct ap_plan_facts *facts, size_t room, struct ap_buffer *out,
                          struct ap_error *err);
/* "12.3 GiB" or "45 MiB"; returns out. */
const char *ap_plan_size(size_t bytes, char out[32]);

/* ---- plan_parts.c ---- */

struct ap_planning {
    const struct ap_run *run; /* its settings are those of the plan */
    const struct ap_plan_facts *facts;
    struct ap_plan_stage *now;
    unsigned counted;                         /* models of the stage, by index */
    struct ap_weights *shapes[AP_MODELS_MAX]; /* described, without memory; NULL until asked for */
};

/* What trains in a role. */
struct ap_plan_learner {
    const char *from; /* a stage whose result it starts from; NULL: the model itself */
    bool trains, with_head;
};

void ap_plan_add(struct ap_planning *p, enum ap_plan_part part, size_t bytes);
/* The model's shape; borrowed. */
ap_status ap_plan_shape(struct ap_planning *p, const char *model, struct ap_weights **out,
                        struct ap_error *err);
/* Positions of its sequences. */
ap_status ap_plan_context(struct ap_planning *p, const char *model, int *out, struct ap_error *err);
/* Of these four a model "" takes nothing: a target that answers over HTTP. */
/* The recipe's model, once a stage. */
ap_status ap_plan_model(struct ap_planning *p, const char *model, struct ap_error *err);
/* A model that all of trains: its own copy from the recipe's start. */
ap_status ap_plan_pretrained(struct ap_planning *p, const char *model, struct ap_error *err);
/* What a role has beside the shared model. */
ap_status ap_plan_role(struct ap_planning *p, const char *model,
                       const struct ap_adapter_settings *adapter, struct ap_plan_learner how,
                       struct ap_error *err);
ap_status ap_plan_tape(struct ap_planning *p, const char *model, int max_row, int max_rank,
                       enum ap_tape_kind kind, struct ap_error *err);
/* context 0: the model's. */
ap_status ap_plan_generator(struct ap_planning *p, const char *model, int context, int max_rank,
                            struct ap_error *err);
/* A model that compares answers, whose longest question has n tokens. */
ap_status ap_plan_asker(struct ap_planning *p, const struct ap_judge_settings *j, int n,
                        struct ap_error *err);
/* The rewards as judges: model, role, tape of each. */
ap_status ap_plan_rewards(struct ap_planning *p, struct ap_error *err);

#endif

/* alignpro export: what a run trained, or a model, as peft, transformers or llama.cpp read it. */
#include "cli.h"
#include "cli_progress.h"
#include "cli_run.h"

#include "alignpro/export.h"

static int help(void)
{
    puts("usage: alignpro export --format peft|hf|gguf --run DIR [--stage NAME] --out PATH\n"
         "       alignpro export --format peft|hf|gguf --model DIR [--adapter DIR] --out PATH\n"
         "What a run trained, or a model folder, in a format that other tools read.\n"
         "  --format peft       a folder: the LoRA adapter, which peft loads\n"
         "           hf         a folder: the whole model, which transformers loads\n"
         "           gguf       a file: the whole model with its tokenizer, which llama.cpp loads\n"
         "  --run DIR           a run directory: its prompter, after align or else after sft\n"
         "  --stage NAME        another result of the run: pretrain, sft, align, rlhf, reward\n"
         "  --model DIR         a Hugging Face folder\n"
         "  --adapter DIR       a PEFT LoRA adapter on top of it\n"
         "  --out PATH          the folder or file to make; what is there is never overwritten\n"
         "  --dtype f32|f16|bf16\n"
         "                      of the weights (default: hf as they are stored, gguf f16)\n"
         "  --adapter-only      gguf: the adapter alone, for llama.cpp's --lora\n"
         "An adapter is folded into the weights of hf and gguf. A classifier has no gguf.");
    return cli_finish(CLI_OK);
}

static int run(const struct ap_export_options *options)
{
    struct ap_error err = {0};
    struct cli_progress progress;
    cli_progress_init(&progress);
    ap_status status = ap_export(options, &progress.sink, &err);
    cli_progress_end(&progress);
    if (status == AP_OK)
        return cli_finish(CLI_OK);
    int code = cli_fail(&err);
    return status == AP_INTERRUPTED ? 130 : code;
}

static int check(const struct ap_export_options *o, int n_more, char **more)
{
    if (n_more)
        return cli_usage_error("export", "'%s' is too much, expected options only", more[0]);
    if (!o->format)
        return cli_usage_error("export", "--format is missing, expected peft, hf or gguf");
    if (!o->run && !o->model)
        return cli_usage_error("export", "--run or --model is missing");
    if (!o->out)
        return cli_usage_error("export", "--out is missing, expected what to write");
    return CLI_OK;
}

int cli_export(int argc, char **argv)
{
    static const struct option rows[] = {
        {"format", required_argument, NULL, 'f'},  {"run", required_argument, NULL, 'r'},
        {"stage", required_argument, NULL, 's'},   {"model", required_argument, NULL, 'm'},
        {"adapter", required_argument, NULL, 'a'}, {"out", required_argument, NULL, 'o'},
        {"dtype", required_argument, NULL, 'd'},   {"adapter-only", no_argument, NULL, 'l'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0},
    };
    struct ap_export_options o = {0};
    int option;
    optind = 0;
    while ((option = cli_next_option(argc, argv, rows)) != -1) {
        switch (option) {
        case 'f':
            o.format = optarg;
            break;
        case 'r':
            o.run = optarg;
            break;
        case 's':
            o.stage = optarg;
            break;
        case 'm':
            o.model = optarg;
            break;
        case 'a':
            o.adapter = optarg;
            break;
        case 'o':
            o.out = optarg;
            break;
        case 'd':
            o.dtype = optarg;
            break;
        case 'l':
            o.adapter_only = true;
            break;
        case 'h':
            return help();
        default:
            return cli_option_error("export", option, argv);
        }
    }
    int code = check(&o, argc - optind, argv + optind);
    return code == CLI_OK ? run(&o) : code;
}

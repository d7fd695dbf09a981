//! Recipes that cannot be used, and options that there are not.

use crate::support::{Folder, fail, run};

#[test]
fn an_unknown_recipe_suggests_a_known_one() {
    fail(&["train", "mnits"], &["mnits: neither a file nor a built-in recipe", "did you mean `mnist`?"]);
}

#[test]
fn an_unknown_key_suggests_a_known_one() {
    let folder = Folder::new();
    let recipe = folder.recipe("schedule.learning_rat = 1.0\n");
    fail(
        &["train", &recipe],
        &["tiny.toml: unknown key `schedule.learning_rat`", "did you mean `schedule.learning_rate`?"],
    );
    fail(
        &["train", "digits", "--set", "training.epoch=3"],
        &["--set training.epoch=3", "did you mean `training.epochs`?"],
    );
}

#[test]
fn bad_values_are_named_with_what_is_expected() {
    for (set, part) in [
        ("training.epochs=0", "training.epochs is 0, expected 1 to 100000"),
        ("training.batch=60", "training.batch is 60 with a training.chunk of 8, expected a multiple"),
        ("name=../digits", "name is \"../digits\", expected a name that a directory can have"),
        ("network.net=", "network is not described, expected network.net"),
        ("training.epochs=many", "expected u32"),
        (
            "optimizer.kind=magic",
            "expected one of `sgd`, `adam`, `adam_w`, `rms_prop`, `adagrad`, `adadelta`",
        ),
        ("training", "expected key=value"),
    ] {
        fail(&["train", "digits", "--set", set], &[part]);
    }
}

#[test]
fn an_unknown_net_lists_the_known_ones() {
    let folder = Folder::new();
    let (recipe, data, out) = (folder.recipe(""), folder.data(), folder.path("run"));
    fail(
        &["train", &recipe, "--data", &data, "--out", &out, "--set", "network.net=lenet"],
        &["\"lenet\"", "network.net", "mnist_ds_cnn, ds_cnn, resnet8"],
    );
    fail(&["bench-train", "lenet", "--json"], &["\"lenet\"", "mnist_ds_cnn, ds_cnn, resnet8"]);
}

#[test]
fn a_misspelt_layer_suggests_a_known_one() {
    let folder = Folder::new();
    let (recipe, data, out) = (folder.recipe(""), folder.data(), folder.path("run"));
    fail(
        &["train", &recipe, "--data", &data, "--out", &out, "--set", "network.layers=fully_conected(3)"],
        &["line 1, column 1", "found `fully_conected(3)`, expected `fully_connected`, or another one"],
    );
}

#[test]
fn the_help_names_every_built_in_recipe() {
    let help = run(&["train", "--help"]).stdout;
    let names: Vec<_> = smidgen_trainer::recipe::Recipe::built_in_names().collect();
    assert!(help.contains(&format!("({})", names.join(", "))), "{help}");
}

#[test]
fn a_syntax_error_has_its_line() {
    let folder = Folder::new();
    let ended = run(&["train", &folder.recipe("[training\n")]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.contains("tiny.toml: ") && ended.stderr.contains("line 8"), "{ended:?}");
}

#[test]
fn usage_errors_have_code_2() {
    for arguments in [
        &["trian"][..],
        &["train"],
        &["eval", "m.smg", "--limit", "0"],
        &["eval", "m.smg", "--on", "cortex-m5"],
        &["bench", "m.smg"],
        &["--simd", "mmx", "inspect", "m.smg"],
        &["bench-train", "ds_cnn", "--batch", "0"],
        &["train", "digits", "--threads", "0"],
    ] {
        let ended = run(arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.starts_with("error: "), "{ended:?}");
    }
}
